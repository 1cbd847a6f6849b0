//! The details of the stateless pool's operations.

use crate::error::ErrorCode;

use crate::openapi::{Details, header};
use crate::products::{Product, ProductPage, ProductsQuery};
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
        "One page of the catalogue, ordered by id. The next page is `cursor=next_cursor`, also as \
         `Link` with `rel=\"next\"`. A response may be cached for a minute.",
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

pub(super) const GET_PRODUCT: Details = Details::new(CATALOGUE, "Read a product")
    .described_as("A response may be cached for a minute.")
    .returns::<Product>(
        200,
        "The product.",
        r#"{"id": "p001", "name": "Brass bell", "price": "14.90", "stock": 120,
            "created_at": "2026-02-05T00:00:00.000Z"}"#,
    )
    .cached()
    .fails_with(&[
        ErrorCode::InvalidProductId,
        ErrorCode::ProductNotFound,
        ErrorCode::DatabaseUnavailable,
    ]);

pub(super) const GET_OPENAPI: Details = Details::new("Reference", "Read this document")
    .described_as("This API as an OpenAPI 3.1 document, to generate clients from.")
    .returns_any("The document.")
    .cached();
