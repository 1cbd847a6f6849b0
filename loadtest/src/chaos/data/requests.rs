//! The requests about products, files and accounts.

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use http_body_util::Full;
use proto_contracts::Endpoint;
use proto_contracts::accounts::{Login, Register};
use proto_contracts::products::{NewProduct, NewReservation, PatchProduct};

use crate::chaos::data::content;
use crate::chaos::data::ledger::{Act, FileNumber, ProductNumber};
use crate::chaos::data::shop::Shop;
use crate::chaos::users::PASSWORD;
use crate::client::ScenarioRequest;
use crate::request;

/// The request of an act. The first page of a list.
pub(super) fn request_of(shop: &Shop, act: &Act) -> ScenarioRequest {
    let names = &shop.names;
    let product = |endpoint: Endpoint, product: ProductNumber| {
        endpoint.templates().canonical.replace("{product_id}", &names.product_id(product))
    };
    let file = |endpoint: Endpoint, file: FileNumber| {
        let id = shop.file_id(file).unwrap_or_default();
        endpoint.templates().canonical.replace("{file_id}", &id)
    };
    match act {
        Act::CreateProduct { product, stock } => {
            let new = NewProduct {
                id: Some(names.product_id(*product)),
                name: names.product_name(*product),
                price: "0".to_owned(),
                stock: *stock,
            };
            request::post(Endpoint::Products.templates().canonical, &new)
        }
        Act::ChangeProduct { product: number, price } => {
            let change = PatchProduct { price: Some(price.to_string()), ..PatchProduct::default() };
            let path = product(Endpoint::Product, *number);
            request::with_json(Method::PATCH, &path, &change)
        }
        Act::DeleteProduct(number) => {
            request::bare(Method::DELETE, &product(Endpoint::Product, *number))
        }
        Act::Reserve { product: number, quantity, .. } => {
            let reservation = NewReservation { quantity: *quantity };
            request::post(&product(Endpoint::Reservations, *number), &reservation)
        }
        Act::ReadProduct(number) => request::get(&product(Endpoint::Product, *number)),
        Act::ListProducts => {
            let path = Endpoint::Products.templates().canonical;
            request::get(&format!("{path}?limit=100&q={}", names.word))
        }
        Act::Upload { file, .. } => upload(&names.file_name(*file), *file),
        Act::DeleteFile(number) => request::bare(Method::DELETE, &file(Endpoint::File, *number)),
        Act::ReadFile(number) => request::get(&file(Endpoint::File, *number)),
        Act::Download(number) => request::get(&file(Endpoint::FileContent, *number)),
        Act::ListFiles(_) => {
            request::get(&format!("{}?limit=100", Endpoint::Files.templates().canonical))
        }
        Act::Register(name) => {
            let (username, password) = (name.to_string(), PASSWORD.to_owned());
            let new = Register { username, name: "Visitor".to_owned(), password };
            request::post(Endpoint::Register.templates().canonical, &new)
        }
        Act::LogIn(name) => {
            let (username, password) = (name.to_string(), PASSWORD.to_owned());
            let login = Login { username, password, cookie: false };
            request::post(Endpoint::Login.templates().canonical, &login)
        }
        Act::FindUser(name) => {
            request::get(&Endpoint::User.templates().canonical.replace("{user_id}", name))
        }
        // Its caller sends the first request again.
        Act::Repeat(_) => request::get("/"),
    }
}

fn upload(name: &str, file: FileNumber) -> ScenarioRequest {
    let path = Endpoint::Files.templates().canonical;
    let mut request = request::bare(Method::POST, path).map(|_| Full::new(content::content(file)));
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).ok();
    let media_type = HeaderValue::from_static("application/octet-stream");
    request.headers_mut().extend(disposition.map(|value| (CONTENT_DISPOSITION, value)));
    request.headers_mut().insert(CONTENT_TYPE, media_type);
    request
}
