//! The rows of a file, checked before any is imported.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::elements::{Element, Elements, MAX_ELEMENT_BYTES, Malformed};
use super::fields::{Fault, Fields};
use crate::domain::import::NewUser;
use crate::domain::product::{NewProduct, Stock};

/// The most rows of a file: they are held in memory until all are checked.
const MAX_ROWS: usize = 1_000_000;

/// What a row of a file is.
pub(super) trait Row: Sized {
    /// The fields, in the form of the legacy API.
    const FIELDS: &[&str];

    /// The row, as far as its fields are valid.
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self>;

    /// Which no other row of the file may have.
    fn id(&self) -> &str;
}

impl Row for NewUser {
    const FIELDS: &[&str] = &["id", "name", "role"];

    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let (id, name, role) = (fields.text("id"), fields.text("name"), fields.text("role"));
        Some(Self { id: id?, name: name?, role: role? })
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Row for NewProduct {
    const FIELDS: &[&str] = &["id", "name", "price", "stock"];

    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let (id, name) = (fields.text("id"), fields.text("name"));
        let (price, stock) = (fields.number("price"), fields.number::<Units>("stock"));
        Some(Self { id: id?, name: name?, price: price?, stock: stock?.0 })
    }

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

/// Units in stock, as a text.
struct Units(Stock);

impl std::str::FromStr for Units {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let most = i32::MAX;
        let units: i32 = text.parse().map_err(|_| format!("must be an integer up to {most}"))?;
        Stock::try_from(units).map(Self).map_err(|error| error.to_string())
    }
}

/// A file, read to its end.
pub(super) struct Rows<T> {
    pub(super) file: PathBuf,
    /// The valid rows, with their lines.
    pub(super) valid: Vec<(u64, T)>,
    /// The others, with what is wrong with each.
    pub(super) invalid: Vec<(u64, Vec<Fault>)>,
}

impl<T: Row> Rows<T> {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is no JSON array, or has too many rows.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let reader = File::open(file).with_context(|| format!("cannot read {shown}"))?;
        Self::from_reader(file, BufReader::new(reader)).with_context(|| shown.to_string())
    }

    fn from_reader(file: &Path, reader: impl BufRead) -> anyhow::Result<Self> {
        let mut elements = Elements::new(reader);
        let mut rows = Self { file: file.to_owned(), valid: Vec::new(), invalid: Vec::new() };
        let mut lines = HashMap::new();
        while let Some(element) = elements.next()? {
            let line = element.line;
            if rows.valid.len() + rows.invalid.len() == MAX_ROWS {
                bail!("line {line}: a file has at most {MAX_ROWS} rows");
            }
            match parse::<T>(element)? {
                Ok(row) => match lines.get(row.id()) {
                    None => {
                        lines.insert(row.id().to_owned(), line);
                        rows.valid.push((line, row));
                    }
                    Some(first) => {
                        let reason = format!("is that of line {first}, too");
                        let fault = Fault { field: "id".to_owned(), reason };
                        rows.invalid.push((line, vec![fault]));
                    }
                },
                Err(faults) => rows.invalid.push((line, faults)),
            }
        }
        Ok(rows)
    }
}

fn parse<T: Row>(element: Element) -> Result<Result<T, Vec<Fault>>, Malformed> {
    let Element { line, text } = element;
    let Some(text) = text else {
        let reason = format!("is longer than {MAX_ELEMENT_BYTES} bytes");
        return Ok(Err(vec![Fault { field: String::new(), reason }]));
    };
    let mut fields = Fields::parse(&text, T::FIELDS).map_err(|error| {
        let within = u64::try_from(error.line().saturating_sub(1)).unwrap_or_default();
        Malformed::Json { line: line + within, fault: format!("is no JSON: {error}") }
    })?;
    let row = T::from_fields(&mut fields);
    Ok(fields.finish(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Row>(text: &str) -> Result<Rows<T>, String> {
        Rows::from_reader(Path::new("x.json"), text.as_bytes())
            .map_err(|error| format!("{error:#}"))
    }

    fn faults<T: Row>(row: &str) -> String {
        let rows = read::<T>(&format!("[\n{row}]")).expect(row);
        let [(2, faults)] = &rows.invalid[..] else { panic!("{row} is valid") };
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn rows_of_the_legacy_form_are_valid() {
        let users = r#"[{"id": "ada", "name": " Ada \u03a9 ", "role": "admin"}]"#;
        let users = read::<NewUser>(users).expect("an array");
        let (1, user) = &users.valid[0] else { panic!("on line 1") };
        assert_eq!((user.id(), user.name.as_str()), ("ada", "Ada Ω"));
        let products = r#"[{"stock": 3, "price": 14.9, "name": "Bell", "id": "B-1"},
                           {"stock": 0, "price": 0, "name": "x", "id": "x"}]"#;
        let products = read::<NewProduct>(products).expect("an array");
        assert_eq!(products.valid[0].1.price.amount().to_string(), "14.9");
        assert_eq!((products.valid[1].0, products.valid[1].1.stock.units()), (2, 0));
    }

    #[test]
    fn the_field_and_the_reason_of_each_fault_are_named() {
        for (row, expected) in [
            (r#"{"id": "Ada", "name": "A", "role": "user"}"#, "id must be 3 to 64 of a-z"),
            (r#"{"id": "a\u0000a", "name": "A", "role": "user"}"#, "id must be 3 to 64"),
            (r#"{"id": "ada", "name": "A\u0000", "role": "user"}"#, "name must be 1 to 200"),
            (r#"{"id": "ada", "name": "\ud800", "role": "user"}"#, "name must be text"),
            (
                r#"{"id": "ada", "name": "", "role": "king"}"#,
                "name must be 1 to 200 characters, wi\
               thout control characters; role the roles are",
            ),
            (
                r#"{"id": 7, "name": null, "role": ["user"]}"#,
                "id must be text; name must be text; \
               role must be text",
            ),
            (r#"{"id": "ada", "role": "user"}"#, "name is missing"),
            (r#"{"id": "ada", "id": "eva", "name": "A", "role": "user"}"#, "id must be there once"),
            (
                r#"{"id": "ada", "name": "A", "role": "user", "password": "x"}"#,
                "must have the fields `id`, `name`, `role` and no others",
            ),
            ("7", "must be an object"),
            ("[]", "must be an object"),
            ("null", "must be an object"),
            ("{}", "id is missing; name is missing; role is missing"),
        ] {
            let found = faults::<NewUser>(row);
            assert!(found.starts_with(expected), "{row}: {found}");
        }
        let product =
            |price, stock| format!(r#"{{"id":"p","name":"P","price":{price},"stock":{stock}}}"#);
        for (price, stock, expected) in [
            ("-1", "1", "price must not be negative"),
            ("-0", "1", "price must not be negative"),
            ("1.999", "1", "price must be a decimal number"),
            ("1e3", "1", "price must be a decimal number"),
            ("10000000000", "1", "price must be a decimal number"),
            (r#""1""#, "1", "price must be a number"),
            ("null", "1", "price must be a number"),
            ("1", "-1", "stock must not be negative"),
            ("1", "1.5", "stock must be an integer"),
            ("1", "2147483648", "stock must be an integer"),
            ("1", "true", "stock must be a number"),
        ] {
            let found = faults::<NewProduct>(&product(price, stock));
            assert!(found.starts_with(expected), "{price} {stock}: {found}");
        }
        let deep = format!(r#"{{"id": {}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert!(faults::<NewUser>(&deep).starts_with("id must be text"));
        let long = format!(r#"{{"id": "ada", "name": "{}"}}"#, "x".repeat(MAX_ELEMENT_BYTES));
        assert_eq!(faults::<NewUser>(&long), "is longer than 65536 bytes");
    }

    #[test]
    fn a_second_row_with_an_id_names_the_first() {
        let row = r#"{"id": "ada", "name": "A", "role": "user"}"#;
        let rows = read::<NewUser>(&format!("[{row},\n{row}]")).expect("an array");
        assert_eq!((rows.valid.len(), rows.invalid[0].0), (1, 2));
        assert_eq!(rows.invalid[0].1[0].to_string(), "id is that of line 1, too");
    }

    #[test]
    fn what_is_no_json_has_no_valid_rows() {
        for (text, expected) in [
            ("[\n{\"id\":\n nope}]", "line 3: is no JSON"),
            ("[\n\n{\"id\": \"a\0\"}]", "line 3: is no JSON"),
            ("[{'id': 1}]", "line 1: is no JSON"),
            ("[{\"id\": 1]]", "line 1: is no JSON"),
        ] {
            let fault = read::<NewUser>(text).err().expect(text);
            assert!(fault.starts_with(expected), "{text:?}: {fault}");
        }
    }
}
