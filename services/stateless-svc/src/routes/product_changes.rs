//! Changes of `/products`, and reservations.

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::error::FieldError;
use proto_contracts::products as wire;
use proto_contracts::{Endpoint, ErrorCode};
use service_kit::body::{Json, NoQuery};
use service_kit::entity_tags::EntityTags;
use service_kit::problem::ApiError;
use service_kit::response;

use super::app::App;
use super::auth::Auth;
use super::conditional::tag_of;
use super::initiator::RequestedBy;
use super::product_document::{json, product_id, to_wire};
use super::replies::without_body;
use crate::domain::account::DisplayName;
use crate::domain::audit::Initiator;
use crate::domain::outcome::Outcome;
use crate::domain::product::{
    NewProduct, Price, Product, ProductChange, ProductId, Quantity, Reservation, Stock,
};
use crate::store::product_changes::ChangeError;

pub(super) async fn create(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::NewProduct>,
    app: web::Data<App>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    Condition::of(request.headers())?.of_what_is_new()?;
    let execute = async |by: &Initiator| {
        let new = new_product(&given)?;
        let added = app.changes.create(&new, by).await;
        product_response(StatusCode::CREATED, added.map_err(|error| not_changed(error, &new.id))?)
    };
    let replay = |outcome| product_replay(StatusCode::CREATED, outcome);
    auth.repetitions.once(&request, initiator, "create_product", &given, replay, execute).await
}

pub(super) async fn patch(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::PatchProduct>,
    app: web::Data<App>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let id = product_id(&request)?;
    let condition = Condition::of(request.headers())?;
    let execute = async |by: &Initiator| {
        let change = product_change(&given)?;
        let guard = |product: &Product| condition.holds_for(product);
        let changed = app.changes.change(&id, &change, &guard, by).await;
        product_response(StatusCode::OK, changed.map_err(|error| not_changed(error, &id))?)
    };
    let replay = |outcome| product_replay(StatusCode::OK, outcome);
    let operation = format!("patch_product {id}");
    auth.repetitions.once(&request, initiator, &operation, &given, replay, execute).await
}

pub(super) async fn delete(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    app: web::Data<App>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let id = product_id(&request)?;
    let condition = Condition::of(request.headers())?;
    let execute = async |by: &Initiator| {
        let guard = |product: &Product| condition.holds_for(product);
        let deleted = app.changes.delete(&id, &guard, by).await;
        deleted.map_err(|error| not_changed(error, &id))?;
        Ok(without_body())
    };
    let replay = |_| Ok(without_body());
    let operation = format!("delete_product {id}");
    auth.repetitions.once(&request, initiator, &operation, &(), replay, execute).await
}

pub(super) async fn reserve(
    _: NoQuery,
    request: HttpRequest,
    RequestedBy(initiator): RequestedBy,
    Json(given): Json<wire::NewReservation>,
    app: web::Data<App>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let id = product_id(&request)?;
    let condition = Condition::of(request.headers())?;
    let execute = async |by: &Initiator| {
        let quantity = Quantity::try_from(given.quantity).map_err(|error| {
            let fault = FieldError::in_body("/quantity", error.to_string());
            ApiError::invalid(ErrorCode::InvalidBody, vec![fault])
        })?;
        let guard = |product: &Product| condition.holds_for(product);
        let reserved = app.changes.reserve(&id, quantity, &guard, by).await;
        reservation_response(reserved.map_err(|error| not_changed(error, &id))?)
    };
    let replay = |outcome| match outcome {
        Some(Outcome::Reservation(reservation)) => reservation_response(reservation),
        _ => Err(ApiError::internal(OtherOutcome)),
    };
    let operation = format!("reserve_product {id}");
    auth.repetitions.once(&request, initiator, &operation, &given, replay, execute).await
}

/// What `If-Match` and `If-None-Match` demand of the product before a change.
struct Condition {
    if_match: Option<EntityTags>,
    if_none_match: Option<EntityTags>,
}

impl Condition {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            if_match: EntityTags::from_headers(headers, &IF_MATCH)?,
            if_none_match: EntityTags::from_headers(headers, &IF_NONE_MATCH)?,
        })
    }

    /// There is no state yet, so `If-Match` never holds.
    fn of_what_is_new(&self) -> Result<(), ApiError> {
        if self.if_match.is_none() {
            return Ok(());
        }
        let detail = "A new product has no ETag; omit If-Match.";
        Err(ApiError::new(ErrorCode::PreconditionFailed, detail))
    }

    fn holds_for(&self, product: &Product) -> bool {
        let Self { if_match, if_none_match } = self;
        if if_match.is_none() && if_none_match.is_none() {
            return true;
        }
        // A document that cannot be serialized has no tag.
        let Ok(document) = json(&to_wire(product.clone())) else { return false };
        let tag = tag_of(&document);
        let lists = |tags: &EntityTags| tags.include(tag.as_bytes());
        if_match.as_ref().is_none_or(lists) && !if_none_match.as_ref().is_some_and(lists)
    }
}

/// The kept outcome of a request is not that of its operation.
#[derive(Debug, thiserror::Error)]
#[error("the outcome of another operation was kept")]
struct OtherOutcome;

fn product_replay(status: StatusCode, kept: Option<Outcome>) -> Result<HttpResponse, ApiError> {
    match kept {
        Some(Outcome::Product(product)) => product_response(status, product),
        _ => Err(ApiError::internal(OtherOutcome)),
    }
}

fn product_response(status: StatusCode, product: Product) -> Result<HttpResponse, ApiError> {
    let document = to_wire(product);
    let mut response = response::no_store(status, &document)?;
    let headers = response.headers_mut();
    if status == StatusCode::CREATED {
        let path = Endpoint::Product.templates().canonical.replace("{product_id}", &document.id);
        headers.insert(LOCATION, HeaderValue::from_str(&path).map_err(ApiError::internal)?);
    }
    let tag = format!("\"{}\"", tag_of(&json(&document).map_err(ApiError::internal)?));
    headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(ApiError::internal)?);
    Ok(response)
}

fn reservation_response(reservation: Reservation) -> Result<HttpResponse, ApiError> {
    let Reservation { id, product, quantity, created_at } = reservation;
    let body = wire::Reservation {
        id: id.to_string(),
        product_id: product.to_string(),
        quantity: quantity.units(),
        created_at: created_at.into(),
    };
    response::no_store(StatusCode::CREATED, &body)
}

fn new_product(given: &wire::NewProduct) -> Result<NewProduct, ApiError> {
    let wire::NewProduct { id, name, price, stock } = given;
    let mut errors = Vec::new();
    let id = match id {
        Some(id) => noted(id.parse::<ProductId>(), "/id", &mut errors),
        None => Some(ProductId::generate()),
    };
    let name = noted(name.parse::<DisplayName>(), "/name", &mut errors);
    let price = noted(price.parse::<Price>(), "/price", &mut errors);
    let stock = noted(Stock::try_from(*stock), "/stock", &mut errors);
    match (id, name, price, stock) {
        (Some(id), Some(name), Some(price), Some(stock)) => {
            Ok(NewProduct { id, name, price, stock })
        }
        _ => Err(ApiError::invalid(ErrorCode::InvalidBody, errors)),
    }
}

fn product_change(given: &wire::PatchProduct) -> Result<ProductChange, ApiError> {
    let wire::PatchProduct { name, price, stock } = given;
    let mut errors = Vec::new();
    let name = name.as_ref().map(|name| name.parse::<DisplayName>());
    let price = price.as_ref().map(|price| price.parse::<Price>());
    let change = ProductChange {
        name: name.and_then(|name| noted(name, "/name", &mut errors)),
        price: price.and_then(|price| noted(price, "/price", &mut errors)),
        stock: stock.and_then(|stock| noted(Stock::try_from(stock), "/stock", &mut errors)),
    };
    if errors.is_empty() {
        Ok(change)
    } else {
        Err(ApiError::invalid(ErrorCode::InvalidBody, errors))
    }
}

/// The value of a field, if it is valid.
fn noted<T, E: std::fmt::Display>(
    parsed: Result<T, E>,
    pointer: &'static str,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    parsed.inspect_err(|error| errors.push(FieldError::in_body(pointer, error.to_string()))).ok()
}

fn not_changed(error: ChangeError, id: &ProductId) -> ApiError {
    let unavailable = |error, detail| match error {
        ChangeError::NotExecuted(ref store) | ChangeError::Unknown(ref store)
            if !store.is_outage() =>
        {
            ApiError::internal(error)
        }
        error => ApiError::new(ErrorCode::DatabaseUnavailable, detail).caused_by(error),
    };
    match error {
        ChangeError::NotFound => {
            ApiError::new(ErrorCode::ProductNotFound, format!("There is no product {id}."))
        }
        ChangeError::Exists => {
            ApiError::new(ErrorCode::ProductExists, format!("There is a product {id} already."))
                .with_errors([FieldError::in_body("/id", "is the id of another product")])
        }
        ChangeError::PreconditionFailed => {
            let detail = "The product's ETag does not satisfy If-Match or If-None-Match; nothing \
                          was changed. Read the product again.";
            ApiError::new(ErrorCode::PreconditionFailed, detail)
        }
        ChangeError::OutOfStock { left } => {
            ApiError::new(ErrorCode::OutOfStock, format!("{left} units of {id} are in stock."))
        }
        ChangeError::Cache(_) => {
            let detail = "The cache is temporarily unavailable, so nothing was changed; repeat the \
                          request shortly.";
            ApiError::new(ErrorCode::CacheUnavailable, detail).caused_by(error)
        }
        ChangeError::NotExecuted(_) => unavailable(
            error,
            "The catalogue is temporarily unavailable, and nothing was changed; repeat the request \
             shortly.",
        ),
        ChangeError::Unknown(_) | ChangeError::Repeated => unavailable(
            error,
            "The catalogue is temporarily unavailable, and the outcome of the change is unknown; \
             repeat the request with its Idempotency-Key, or read the product.",
        ),
    }
}
