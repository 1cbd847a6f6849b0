//! `/products`: the catalogue, read through the cache and with entity tags.

use actix_web::http::header::{HeaderValue, LINK};
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use proto_contracts::ErrorCode;
use proto_contracts::error::FieldError;
use proto_contracts::products as wire;
use service_kit::body::{NoQuery, Query};
use service_kit::problem::ApiError;
use service_kit::response::page_links;

use super::app::App;
use super::conditional::{PRODUCTS, conditional};
use super::product_document::{json, page_to_wire, product_id, to_wire};
use crate::domain::page::InvalidCursor;
use crate::domain::product::{Filter, InvalidPage, PageRequest, Price, Search, Sort};
use crate::store::cache::{LoadError, Loaded, Place};
use crate::store::products::Read;

pub(super) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    Query(query): Query<wire::ProductsQuery>,
) -> Result<HttpResponse, ApiError> {
    let (page, first) = page_request(&query)?;
    let cursor = query.cursor.as_deref().unwrap_or_default();
    let place = Place::page(&format!("{first}&cursor={cursor}"));

    let load = || {
        let (products, page) = (app.products.clone(), page.clone());
        async move {
            let Read { value, is_settled } = products.page(&page).await?;
            Ok(Loaded { document: Some(json(&page_to_wire(value))?), is_settled })
        }
    };
    let document = app.documents.get_or_load(place, load).await.map_err(failed)?;
    let document = document.unwrap_or_default();
    let links = links(&first, &document)?;
    let mut response = conditional(request.headers(), PRODUCTS, document)?;
    response.headers_mut().insert(LINK, links);
    Ok(response)
}

pub(super) async fn read(
    request: HttpRequest,
    _: NoQuery,
    app: web::Data<App>,
) -> Result<HttpResponse, ApiError> {
    let id = product_id(&request)?;
    let load = || {
        let (products, id) = (app.products.clone(), id.clone());
        async move {
            let Read { value, is_settled } = products.find(&id).await?;
            let document = value.map(|found| json(&to_wire(found))).transpose()?;
            Ok(Loaded { document, is_settled })
        }
    };
    match app.documents.get_or_load(Place::product(&id), load).await.map_err(failed)? {
        Some(document) => conditional(request.headers(), PRODUCTS, document),
        None => {
            Err(ApiError::new(ErrorCode::ProductNotFound, format!("There is no product {id}.")))
        }
    }
}

/// The `Link` of a page, by its document.
fn links(first: &str, document: &[u8]) -> Result<HeaderValue, ApiError> {
    /// The rest is skipped.
    #[derive(serde::Deserialize)]
    struct Next {
        next_cursor: Option<String>,
    }

    let Next { next_cursor } = serde_json::from_slice(document).map_err(ApiError::internal)?;
    page_links(first, next_cursor.as_deref())
}

/// The page, and the query of the first one of its list.
fn page_request(query: &wire::ProductsQuery) -> Result<(PageRequest, String), ApiError> {
    let wire::ProductsQuery { limit, cursor, sort, q, min_price, max_price, in_stock } = query;
    let mut errors = Vec::new();
    let filter = Filter {
        search: parsed::<Search>("q", q, &mut errors),
        min_price: parsed::<Price>("min_price", min_price, &mut errors),
        max_price: parsed::<Price>("max_price", max_price, &mut errors),
        in_stock: in_stock.unwrap_or_default(),
    };
    let after = cursor.as_ref().map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(|_: InvalidCursor| invalid_cursor())?;
    let sort = sort.unwrap_or_default();
    let page = PageRequest::new(*limit, sort, filter, after).map_err(|error| match error {
        InvalidPage::Cursor => invalid_cursor(),
        InvalidPage::Limit => {
            let fault = FieldError::in_query("limit", error.to_string());
            ApiError::invalid(ErrorCode::InvalidQuery, vec![fault])
        }
    })?;
    if !errors.is_empty() {
        return Err(ApiError::invalid(ErrorCode::InvalidQuery, errors));
    }
    let mut first = form_urlencoded::Serializer::new(String::new());
    first.append_pair("limit", &page.limit().to_string());
    if sort != Sort::Id {
        first.append_pair("sort", sort.as_str());
    }
    for (name, value) in [("q", q), ("min_price", min_price), ("max_price", max_price)] {
        if let Some(value) = value {
            first.append_pair(name, value);
        }
    }
    if page.filter().in_stock {
        first.append_pair("in_stock", "true");
    }
    Ok((page, first.finish()))
}

/// A parameter's value, if it has one of the right form.
fn parsed<T>(
    parameter: &'static str,
    given: &Option<String>,
    errors: &mut Vec<FieldError>,
) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let note = |error: &T::Err| errors.push(FieldError::in_query(parameter, error.to_string()));
    given.as_ref()?.parse::<T>().inspect_err(note).ok()
}

fn invalid_cursor() -> ApiError {
    let fault = "must be the `next_cursor` of the previous page, in the same order; omit it for \
                 the first page";
    ApiError::invalid(ErrorCode::InvalidCursor, vec![FieldError::in_query("cursor", fault)])
}

fn failed(error: LoadError) -> ApiError {
    if !error.is_outage() {
        return ApiError::internal(error);
    }
    let detail = "The catalogue is temporarily unavailable; repeat the request shortly.";
    ApiError::new(ErrorCode::DatabaseUnavailable, detail).caused_by(error)
}
