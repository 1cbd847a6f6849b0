//! What a user has changed is recorded before the response, so that no replica which lacks it serves
//! that user.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, FromRequest, Handler, HttpMessage as _, Responder, Route, web};
use service_kit::routes::handler;

use super::app::App;
use crate::domain::account::Username;
use crate::issuer::Identity;

/// The user of a request that came without a token.
pub(super) struct LoggedIn(pub(super) Username);

/// A handler of an operation that changes something in a user's name. Its success is acknowledged
/// when the change is recorded; that of a repetition, too, whose change may be another instance's.
pub(super) fn change<F, Args>(to: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    handler(to).wrap(from_fn(record))
}

async fn record(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let response = next.call(request).await?;
    let request = response.request();
    let Some(commits) = request.app_data::<web::Data<App>>().and_then(|app| app.commits.as_ref())
    else {
        return Ok(response);
    };
    if !response.status().is_success() {
        return Ok(response);
    }
    let user = {
        let extensions = request.extensions();
        let by_token = extensions.get::<Identity>().map(|identity| identity.user.clone());
        by_token.or_else(|| extensions.get::<LoggedIn>().map(|LoggedIn(user)| user.clone()))
    };
    if let Some(user) = user {
        commits.committed(&user).await;
    }
    Ok(response)
}
