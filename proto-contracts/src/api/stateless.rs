//! The details of the stateless pool's operations.

use crate::accounts::Role;
use crate::error::ErrorCode;

use crate::openapi::{Caller, Details, header};
use crate::products::{
    NewProduct, NewReservation, PatchProduct, Product, ProductPage, ProductsQuery, Reservation,
};
use crate::stateless::{CalculateRequest, CalculateResponse, Info, RandomQuery, RandomResponse};

const TAG: &str = "Stateless";
const CATALOGUE: &str = "Catalogue";

pub(super) const GET_INFO: Details = Details::new(TAG, "Show which instance responds")
    .described_as(
        "The instance's name, version, clock and uptime. Repeat it: the requests go round robin, \
         so the next instance responds.",
    )
    .returns::<Info>(
        200,
        "The instance.",
        r#"{"service": "stateless-svc", "version": "0.1.0", "instance": "stateless-1",
            "timestamp": "2026-11-28T17:00:00.123Z", "uptime_s": 86400}"#,
    );

pub(super) const CALCULATE: Details = Details::new(TAG, "Calculate")
    .described_as(
        "Applies an operation to the operands, from left to right. An empty object is an empty \
         sum, 0. `subtract`, `divide`, `mean`, `min` and `max` take at least one operand, `power` \
         exactly two.",
    )
    .optional_body::<CalculateRequest>(r#"{"operation": "divide", "operands": [22.0, 7.0]}"#)
    .returns::<CalculateResponse>(
        200,
        "The result.",
        r#"{"operation": "divide", "operands": [22.0, 7.0], "result": 3.142857142857143}"#,
    )
    .fails_with(&[
        ErrorCode::InvalidOperands,
        ErrorCode::DivisionByZero,
        ErrorCode::ResultNotFinite,
    ]);

pub(super) const DRAW_RANDOM: Details = Details::new(TAG, "Draw random numbers")
    .described_as("Draws `count` integers, uniform over `min` to `max`, both included.")
    .query::<RandomQuery>()
    .returns::<RandomResponse>(200, "The numbers.", r#"{"min": 1, "max": 6, "values": [4, 1, 6]}"#);

pub(super) const LIST_PRODUCTS: Details = Details::new(CATALOGUE, "List the products")
    .described_as(
        "One page of the catalogue, of all products or of those that the query names, ordered by \
         `sort`. The next page is the same query with `cursor=next_cursor`, also as `Link` with \
         `rel=\"next\"`. A response from a cache may be as old as its `Cache-Control` \
         says.",
    )
    .query::<ProductsQuery>()
    .returns::<ProductPage>(
        200,
        "The page.",
        r#"{"products": [{"id": "p001", "name": "Brass bell", "price": "14.90", "stock": 120,
            "created_at": "2026-02-05T00:00:00.000Z"}], "next_cursor": "70303031"}"#,
    )
    .with_headers(&[header::LINK])
    .identifies("product_id", "/products/0/id")
    .cached()
    .fails_with(&[ErrorCode::InvalidCursor, ErrorCode::DatabaseUnavailable]);

/// A product as an example.
const PRODUCT: &str = r#"{"id": "p001", "name": "Brass bell", "price": "14.90", "stock": 120,
    "created_at": "2026-02-05T00:00:00.000Z"}"#;

pub(super) const GET_PRODUCT: Details = Details::new(CATALOGUE, "Read a product")
    .described_as("A response from a cache may be as old as its `Cache-Control` says.")
    .returns::<Product>(200, "The product.", PRODUCT)
    .cached()
    .fails_with(&[
        ErrorCode::InvalidProductId,
        ErrorCode::ProductNotFound,
        ErrorCode::DatabaseUnavailable,
    ]);

/// A change of the catalogue.
const fn changes_catalogue(summary: &'static str, role: Role) -> Details {
    Details::new(CATALOGUE, summary)
        .called_by(Caller::User(role))
        .keyed()
        .guarded()
        .fails_with(&[ErrorCode::DatabaseUnavailable, ErrorCode::CacheUnavailable])
}

/// A change of one product.
const fn changes_product(summary: &'static str, role: Role) -> Details {
    changes_catalogue(summary, role)
        .fails_with(&[ErrorCode::InvalidProductId, ErrorCode::ProductNotFound])
}

pub(super) const CREATE_PRODUCT: Details = changes_catalogue("Add a product", Role::Admin)
    .body::<NewProduct>(r#"{"name": "Brass bell", "price": "14.90", "stock": 120}"#)
    .returns::<Product>(201, "The product.", PRODUCT)
    .with_headers(&[header::LOCATION, header::ETAG])
    .fails_with(&[ErrorCode::ProductExists]);

pub(super) const PATCH_PRODUCT: Details = changes_product("Change a product", Role::Admin)
    .described_as(
        "Applies a merge patch (RFC 7396): what it lacks stays, and nothing can be removed. \
         `If-Match` prevents that another client's change is lost.",
    )
    .body::<PatchProduct>(r#"{"price": "12.50"}"#)
    .returns::<Product>(200, "The product after the change.", PRODUCT)
    .with_headers(&[header::ETAG]);

pub(super) const DELETE_PRODUCT: Details = changes_product("Delete a product", Role::Admin)
    .described_as("Its reservations stay.")
    .returns_nothing(204, "Deleted.");

pub(super) const RESERVE_PRODUCT: Details = changes_product("Reserve units", Role::User)
    .described_as(
        "Takes units from the stock, which never falls below zero. With an `Idempotency-Key` it \
         takes them once, however often the request is repeated.",
    )
    .body::<NewReservation>(r#"{"quantity": 1}"#)
    .returns::<Reservation>(
        201,
        "The reservation.",
        r#"{"id": "01a22432-98c8-74d3-b932-470082b2f181", "product_id": "p001", "quantity": 1,
            "created_at": "2026-11-28T17:00:00.123Z"}"#,
    )
    .fails_with(&[ErrorCode::OutOfStock]);

pub(super) const GET_OPENAPI: Details = Details::new("Reference", "Read this document")
    .described_as("This API as an OpenAPI 3.1 document, to generate clients from.")
    .returns_any("The document.")
    .cached();
