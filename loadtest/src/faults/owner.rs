//! A user with a product and a file, for requests about these.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use http::header::{AUTHORIZATION, CONTENT_DISPOSITION};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::Full;
use hyper::body::Bytes;
use local_stack::Stack;
use proto_contracts::accounts::{Login, Register, Tokens};
use proto_contracts::files::File;
use proto_contracts::headers::IDEMPOTENCY_KEY;
use proto_contracts::products::{NewProduct, NewReservation};
use proto_contracts::{Endpoint, Role};
use uuid::Uuid;

use crate::client::{Client, Response, ScenarioRequest};
use crate::request;
use crate::target::{Reach, Target};

const PASSWORD: &str = "correct horse battery staple";
const NAME: HeaderValue = HeaderValue::from_static("attachment; filename=\"note.txt\"");
const CONTENT: Bytes = Bytes::from_static(b"what happens now?");

/// An admin, so that it may add a product.
pub(super) struct Owner {
    authorization: HeaderValue,
    product: String,
    file: String,
}

impl Owner {
    /// A new one. Past Nginx, which limits registrations.
    pub(super) async fn register(stack: &Stack) -> Result<Self> {
        let gateway = Target::resolve(&stack.urls().gateway, None, Reach::ThisMachine).await?;
        let mut client = Client::new(Arc::new(gateway));
        let mut send = async |what: &str, request| -> Result<Response> {
            let response = client.send(request).await.with_context(|| format!("cannot {what}"))?;
            let status = response.status;
            ensure!(status.is_success(), "cannot {what}: {status}");
            Ok(response)
        };
        let id = Uuid::new_v4().simple().to_string();
        let (username, password) = (format!("faults-{id}"), PASSWORD.to_owned());
        let new = Register { username: username.clone(), name: id, password: password.clone() };
        send("register", request::post(Endpoint::Register.templates().canonical, &new)).await?;
        stack.grant(&username, Role::Admin).await?;
        let product = username.clone();
        let login = Login { username, password, cookie: false };
        let login = request::post(Endpoint::Login.templates().canonical, &login);
        let tokens: Tokens = serde_json::from_slice(&send("log in", login).await?.body)?;
        let authorization = HeaderValue::try_from(format!("Bearer {}", tokens.access_token))?;
        let mut owner = Self { authorization, product, file: String::new() };
        let new = NewProduct {
            id: Some(owner.product.clone()),
            name: "Faults".to_owned(),
            price: "1".to_owned(),
            stock: i32::MAX,
        };
        let new = request::post(Endpoint::Products.templates().canonical, &new);
        send("add a product", owner.authorized(new)).await?;
        let uploaded = send("upload a file", owner.upload()).await?;
        owner.file = serde_json::from_slice::<File>(&uploaded.body)?.id;
        Ok(owner)
    }

    /// A reservation of its product, with a key.
    pub(super) fn reserve(&self) -> ScenarioRequest {
        let path = Endpoint::Reservations.templates().canonical;
        let path = path.replace("{product_id}", &self.product);
        with_key(self.authorized(request::post(&path, &NewReservation { quantity: 1 })))
    }

    /// An upload of one more file.
    pub(super) fn upload(&self) -> ScenarioRequest {
        let path = Endpoint::Files.templates().canonical;
        let mut request = request::bare(Method::POST, path).map(|_| Full::new(CONTENT));
        request.headers_mut().insert(CONTENT_DISPOSITION, NAME);
        self.authorized(request)
    }

    /// A GET of the content of its first file.
    pub(super) fn download(&self) -> ScenarioRequest {
        let path = Endpoint::FileContent.templates().canonical;
        self.authorized(request::get(&path.replace("{file_id}", &self.file)))
    }

    fn authorized(&self, mut request: ScenarioRequest) -> ScenarioRequest {
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        request
    }
}

/// Adds a fresh `Idempotency-Key`.
pub(super) fn with_key(mut request: ScenarioRequest) -> ScenarioRequest {
    let key = HeaderValue::from_str(&Uuid::new_v4().to_string());
    // A UUID is always a valid header value.
    request
        .headers_mut()
        .extend(key.ok().map(|key| (HeaderName::from_static(IDEMPOTENCY_KEY), key)));
    request
}
