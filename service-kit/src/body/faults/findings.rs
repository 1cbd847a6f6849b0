//! What was found, and where.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use proto_contracts::error::FieldError;
use serde::de::{Error, Expected, Unexpected};

use super::super::strictness::Strictness;
use super::values::one_of;

/// The most faults that are listed.
const MAX_FAULTS: usize = 16;
/// The longest pointer or parameter in a response, in bytes. Names may be the client's.
const MAX_NAME_BYTES: usize = 200;

/// What was found until now.
pub(super) struct Findings {
    is_query: bool,
    strictness: Strictness,
    faults: RefCell<Vec<FieldError>>,
    /// The places of missing fields.
    missing: RefCell<Vec<String>>,
    /// Whether this reading found one more.
    found_missing: Cell<bool>,
}

impl Findings {
    /// Nothing, of a body.
    pub(super) fn of_body(strictness: Strictness) -> Self {
        Self {
            is_query: false,
            strictness,
            faults: RefCell::default(),
            missing: RefCell::default(),
            found_missing: Cell::new(false),
        }
    }

    /// Nothing, of a query.
    pub(super) fn of_query(strictness: Strictness) -> Self {
        Self { is_query: true, ..Self::of_body(strictness) }
    }

    /// Notes a fault of the value at this place.
    pub(super) fn note(&self, path: &Path<'_>, detail: impl Into<Cow<'static, str>>) {
        if !self.is_full() {
            let fault = self.fault(&path.to_string(), detail.into());
            self.faults.borrow_mut().push(fault);
        }
    }

    /// Notes an unknown field, unless they are ignored.
    pub(super) fn note_unknown(&self, path: &Path<'_>, known: &[&str]) {
        if self.strictness == Strictness::Strict {
            self.note(
                path,
                match known {
                    [] => "is unknown; none is expected here".to_owned(),
                    known => format!("is unknown; known here: {}", known.join(", ")),
                },
            );
        }
    }

    /// Whether enough faults are known.
    pub(super) fn is_full(&self) -> bool {
        self.faults.borrow().len() >= MAX_FAULTS
    }

    /// Whether the field of the object at this place was found to be missing.
    pub(super) fn is_missing(&self, object: &Path<'_>, field: &str) -> bool {
        let missing = self.missing.borrow();
        !missing.is_empty() && missing.contains(&Path::Member(object, field).to_string())
    }

    /// Notes the fault of the value at the path, unless that was done.
    pub(super) fn settle<T>(&self, path: &Path<'_>, read: Result<T, Found>) -> Result<T, Found> {
        read.map_err(|found| {
            match found {
                Found::Noted => {}
                // A type that parses text has rejected the one in place of a wrong value.
                Found::Invalid(_) if self.is_noted(path) => {}
                Found::Invalid(detail) => self.note(path, detail),
                Found::Missing(field) => {
                    self.missing.borrow_mut().push(Path::Member(path, field).to_string());
                    self.found_missing.set(true);
                }
            }
            Found::Noted
        })
    }

    fn is_noted(&self, path: &Path<'_>) -> bool {
        let place = path.to_string();
        let fault = self.fault(&place, "".into());
        let is_same = |noted: &FieldError| {
            (&noted.pointer, &noted.parameter) == (&fault.pointer, &fault.parameter)
        };
        self.missing.borrow().contains(&place) || self.faults.borrow().iter().any(is_same)
    }

    /// Begins again when a field was found to be missing; else returns all faults.
    pub(super) fn with_the_missing_ones(self) -> Result<Self, Vec<FieldError>> {
        let is_full = self.missing.borrow().len() >= MAX_FAULTS;
        if self.found_missing.get() && !is_full {
            let (faults, found_missing) = (RefCell::default(), Cell::new(false));
            return Ok(Self { faults, found_missing, ..self });
        }
        let missing = self.missing.borrow();
        let required = missing.iter().map(|place| self.fault(place, "is required".into()));
        Err(required.chain(self.faults.take()).take(MAX_FAULTS).collect())
    }

    fn fault(&self, pointer: &str, detail: Cow<'static, str>) -> FieldError {
        if pointer.len() > MAX_NAME_BYTES {
            // Part of a pointer would point elsewhere.
            return if self.is_query {
                FieldError::in_query("", "has a parameter with a long name that is unknown")
            } else {
                FieldError::in_body("", format!("has a field with a long name that {detail}"))
            };
        }
        if self.is_query {
            let name = pointer.trim_start_matches('/').replace("~1", "/").replace("~0", "~");
            FieldError::in_query(name, detail)
        } else {
            FieldError::in_body(pointer.to_owned(), detail)
        }
    }
}

/// The place of a value. Its text is a JSON Pointer (RFC 6901).
pub(super) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, name) => {
                write!(f, "{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            Self::Item(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

/// Why a value could not be read.
#[derive(Debug)]
pub(super) enum Found {
    /// What must be noted was.
    Noted,
    /// What is wrong with the value, as the rest of a sentence about it.
    Invalid(Cow<'static, str>),
    /// A required field of the object is missing.
    Missing(&'static str),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault was found")
    }
}

impl std::error::Error for Found {}

impl Error for Found {
    /// The text of one of our own types.
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Invalid(message.to_string().into())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Invalid(one_of(expected).into())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}
