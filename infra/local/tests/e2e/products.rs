//! The catalogue: changes by admins, reservations by users, and what readers see of them.

use anyhow::{Context, Result};
use local_stack::Stack;
use proto_contracts::audit::AuditPage;
use proto_contracts::products::{Product, ProductPage, Reservation};
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use reqwest::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION};
use serde_json::{Value, json};

use crate::accounts::users::token_of;
use crate::accounts::{database, with_token};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

mod buyers;
mod hostile;
mod hot;
mod lists;
mod outages;
mod staleness;

const PRODUCTS: &str = "/api/v1/stateless/products";

/// A client in a user's name.
#[derive(Clone)]
struct User {
    api: Api,
    token: String,
}

impl User {
    async fn new(stack: &Stack, api: &Api, name: &str, role: Role) -> Result<Self> {
        Ok(Self { api: api.clone(), token: token_of(stack, api, name, role).await? })
    }

    /// The same user at another place.
    fn at(&self, api: &Api) -> Self {
        Self { api: api.clone(), ..self.clone() }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Value,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response> {
        let request = self.api.request(method, path).bearer_auth(&self.token).json(&body);
        let with = |request: reqwest::RequestBuilder, (name, value): &(HeaderName, &str)| {
            request.header(name, *value)
        };
        Response::to(headers.iter().fold(request, with)).await
    }

    async fn create(&self, body: Value) -> Result<Response> {
        self.send(Method::POST, PRODUCTS, body, &[]).await
    }

    async fn patch(&self, id: &str, body: Value) -> Result<Response> {
        self.send(Method::PATCH, &product(id), body, &[]).await
    }

    /// Reserves one unit, with a key or without.
    async fn reserve(&self, id: &str, key: Option<&str>) -> Result<Response> {
        let path = format!("{}/reservations", product(id));
        let headers: Vec<_> = key.into_iter().map(|key| (KEY, key)).collect();
        self.send(Method::POST, &path, json!({"quantity": 1}), &headers).await
    }
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn product(id: &str) -> String {
    format!("{PRODUCTS}/{id}")
}

#[tokio::test]
async fn products() -> Result<()> {
    let stack = small_stack().with_nginx().stateless(2).start().await?;
    let api = Api::through_nginx(&stack)?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    let buyer = User::new(&stack, &api, "buyer", Role::User).await?;
    a_product_is_created_changed_and_deleted(&admin).await?;
    a_condition_guards_every_change(&admin, &buyer).await?;
    a_repetition_gets_the_first_response(&admin, &buyer).await?;
    units_are_reserved_while_there_are_any(&stack, &admin, &buyer).await?;
    every_instance_shows_a_change_at_once(&stack, &admin).await?;
    each_change_has_an_entry_of_the_audit_log(&admin, &buyer).await?;
    stack.shutdown().await;
    Ok(())
}

async fn a_product_is_created_changed_and_deleted(admin: &User) -> Result<()> {
    let members = ["id", "name", "price", "stock", "created_at"];
    let body = json!({"name": " Bell for two, Ω ", "price": "14.9", "stock": 3});
    let created = admin.create(body).await?;
    let added = created.object(201, &members);
    assert_eq!((&added["name"], &added["price"]), (&json!("Bell for two, Ω"), &json!("14.90")));
    let id = added["id"].as_str().context("an id")?;
    assert_eq!(created.header(LOCATION.as_str()), Some(&*product(id)), "{created}");
    let read = admin.api.get(&product(id)).await?;
    assert_eq!((read.status, &read.body), (200, &created.body), "{read}");
    // Nginx makes the tag of a response weak when it compresses it.
    let strong = |response: &Response| {
        response.header(ETAG.as_str()).map(|tag| tag.trim_start_matches("W/").to_owned())
    };
    assert_eq!(strong(&read), strong(&created));

    let chosen = json!({"id": "bell_2-A", "name": "x", "price": "0", "stock": 0});
    assert_eq!(admin.create(chosen.clone()).await?.status, 201);
    admin.create(chosen).await?.problem(ErrorCode::ProductExists);

    let changed = admin.patch(id, json!({"price": "9999999999.99", "stock": i32::MAX})).await?;
    let product_now: Product = changed.json();
    assert_eq!((&*product_now.price, product_now.stock), ("9999999999.99", i32::MAX));
    assert_eq!(product_now.name, "Bell for two, Ω", "what a patch lacks stays");
    // An empty patch, and one that changes nothing.
    for same in [json!({}), json!({"stock": i32::MAX})] {
        assert_eq!(admin.patch(id, same).await?.body, changed.body);
    }
    admin.patch(id, json!({"name": null})).await?.problem(ErrorCode::InvalidBody);
    admin.patch("p999", json!({"stock": 1})).await?.problem(ErrorCode::ProductNotFound);

    let delete = async || with_token(&admin.api, Method::DELETE, &product(id), &admin.token).await;
    assert_eq!(delete().await?.status, 204);
    delete().await?.problem(ErrorCode::ProductNotFound);
    let gone = with_token(&admin.api, Method::GET, &product(id), &admin.token).await?;
    gone.problem(ErrorCode::ProductNotFound);
    Ok(())
}

async fn a_condition_guards_every_change(admin: &User, buyer: &User) -> Result<()> {
    let body = json!({"id": "guarded", "name": "x", "price": "1", "stock": 9});
    let created = admin.create(body.clone()).await?;
    let old = created.header(ETAG.as_str()).context("ETag")?.to_owned();
    let path = product("guarded");
    let patch = async |stock: i32, header: HeaderName, tag: &str| {
        admin.send(Method::PATCH, &path, json!({"stock": stock}), &[(header, tag)]).await
    };
    let changed = patch(8, IF_MATCH, &old).await?;
    assert_eq!(changed.status, 200, "{changed}");
    let new = changed.header(ETAG.as_str()).context("ETag")?.to_owned();
    for (header, tag) in [(IF_MATCH, &*old), (IF_NONE_MATCH, &*new), (IF_NONE_MATCH, "*")] {
        patch(1, header.clone(), tag).await?.problem(ErrorCode::PreconditionFailed);
        let headers = [(header, tag)];
        let deleted = admin.send(Method::DELETE, &path, json!({}), &headers).await?;
        deleted.problem(ErrorCode::PreconditionFailed);
        let reserve = format!("{path}/reservations");
        let reserved = buyer.send(Method::POST, &reserve, json!({"quantity": 1}), &headers).await?;
        reserved.problem(ErrorCode::PreconditionFailed);
    }
    for header in [IF_MATCH, IF_NONE_MATCH] {
        patch(1, header, "no tag").await?.problem(ErrorCode::InvalidEntityTag);
    }
    let another = json!({"id": "guarded-2", "name": "x", "price": "1", "stock": 1});
    let created = admin.send(Method::POST, PRODUCTS, another, &[(IF_MATCH, "*")]).await?;
    created.problem(ErrorCode::PreconditionFailed);
    assert_eq!(patch(7, IF_MATCH, &new).await?.json::<Product>().stock, 7);
    // Of two changes of one state, one is made.
    let read = with_token(&admin.api, Method::GET, &path, &admin.token).await?;
    let tag = read.header(ETAG.as_str()).context("ETag")?;
    let all = (0..8).map(|stock| patch(100 + stock, IF_MATCH, tag));
    let all = futures_util::future::try_join_all(all).await?;
    let made = all.iter().filter(|response| response.status == 200).count();
    let failed = all.iter().filter(|response| response.status == 412).count();
    assert_eq!((made, failed), (1, 7));
    Ok(())
}

async fn a_repetition_gets_the_first_response(admin: &User, buyer: &User) -> Result<()> {
    let body = json!({"name": "keyed", "price": "1.50", "stock": 5});
    let create = async |body: &Value| {
        admin.send(Method::POST, PRODUCTS, body.clone(), &[(KEY, "product-key-1")]).await
    };
    let first = create(&body).await?;
    assert_eq!(first.status, 201, "{first}");
    let id = first.json::<Product>().id;
    let patch = async |stock: i32| {
        let body = json!({ "stock": stock });
        admin.send(Method::PATCH, &product(&id), body, &[(KEY, "product-key-2")]).await
    };
    let patched = patch(4).await?;
    let reserved = buyer.reserve(&id, Some("product-key-3")).await?;
    assert_eq!(reserved.status, 201, "{reserved}");
    for (again, first) in [
        (create(&body).await?, &first),
        (patch(4).await?, &patched),
        (buyer.reserve(&id, Some("product-key-3")).await?, &reserved),
    ] {
        assert_eq!((again.status, &again.body), (first.status, &first.body), "{again}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again}");
        for header in [ETAG, LOCATION] {
            assert_eq!(again.header(header.as_str()), first.header(header.as_str()));
        }
    }
    patch(3).await?.problem(ErrorCode::IdempotencyKeyReused);
    buyer.reserve("p001", Some("product-key-3")).await?.problem(ErrorCode::IdempotencyKeyReused);
    // Another user's key is another one.
    let other = admin.reserve(&id, Some("product-key-3")).await?;
    assert_eq!((other.status, other.header("idempotency-replayed")), (201, None), "{other}");
    let delete = async || {
        admin.send(Method::DELETE, &product(&id), json!({}), &[(KEY, "product-key-4")]).await
    };
    assert_eq!((delete().await?.status, delete().await?.status), (204, 204));
    Ok(())
}

async fn units_are_reserved_while_there_are_any(
    stack: &Stack,
    admin: &User,
    buyer: &User,
) -> Result<()> {
    let body = json!({"id": "rare", "name": "Rare", "price": "1", "stock": 3});
    assert_eq!(admin.create(body).await?.status, 201);
    let path = format!("{}/reservations", product("rare"));
    let reserve =
        async |units: i32| buyer.send(Method::POST, &path, json!({ "quantity": units }), &[]).await;
    let reserved = reserve(2).await?;
    reserved.object(201, &["id", "product_id", "quantity", "created_at"]);
    let reservation: Reservation = reserved.json();
    assert_eq!((&*reservation.product_id, reservation.quantity), ("rare", 2));
    let refused = reserve(2).await?.problem(ErrorCode::OutOfStock);
    assert_eq!(refused.detail, "1 units of rare are in stock.");
    for (units, code) in [
        (0, ErrorCode::InvalidBody),
        (-1, ErrorCode::InvalidBody),
        (i32::MAX, ErrorCode::InvalidBody),
        (1_000_000, ErrorCode::OutOfStock),
    ] {
        reserve(units).await?.problem(code);
    }
    assert_eq!(reserve(1).await?.status, 201);
    reserve(1).await?.problem(ErrorCode::OutOfStock);
    let row = database(stack)
        .await?
        .query_one(
            "SELECT count(*), sum(quantity), min(user_id), max(user_id) FROM reservations \
             WHERE product_id = 'rare'",
            &[],
        )
        .await?;
    let (count, sum): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let users: (String, String) = (row.try_get(2)?, row.try_get(3)?);
    assert_eq!((count, sum, users), (2, 3, ("buyer".to_owned(), "buyer".to_owned())));
    let none = buyer.reserve("p999", None).await?;
    none.problem(ErrorCode::ProductNotFound);
    Ok(())
}

/// An acknowledged change is in the next response of every instance, of the product and of pages.
async fn every_instance_shows_a_change_at_once(stack: &Stack, admin: &User) -> Result<()> {
    let body = json!({"id": "0-first", "name": "x", "price": "1", "stock": 0});
    assert_eq!(admin.create(body).await?.status, 201);
    let instances =
        [Api::on_instance(stack, "stateless-1")?, Api::on_instance(stack, "stateless-2")?];
    for stock in 1..=50 {
        let writer = admin.at(&instances[stock % 2]);
        assert_eq!(writer.patch("0-first", json!({ "stock": stock })).await?.status, 200);
        for instance in &instances {
            // Twice: the second comes from the cache.
            for _ in 0..2 {
                let read: Product = instance.get(&product("0-first")).await?.json();
                assert_eq!(usize::try_from(read.stock)?, stock);
                let page: ProductPage = instance.get(&format!("{PRODUCTS}?limit=1")).await?.json();
                assert_eq!(usize::try_from(page.products[0].stock)?, stock);
            }
        }
    }
    let metrics = String::from_utf8(instances[0].get("/metrics").await?.body)?;
    let count = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).context(name.to_owned());
        anyhow::Ok(line?.rsplit(' ').next().context("a value")?.parse::<f64>()?)
    };
    assert!(count("cache_marks_total{outcome=\"done\"")? >= 25.0);
    assert!(count("cache_requests_total{outcome=\"hit\"")? >= 100.0, "the cache is used");
    assert!(count("cache_fills_total{outcome=\"stored\"")? >= 50.0);
    Ok(())
}

async fn each_change_has_an_entry_of_the_audit_log(admin: &User, buyer: &User) -> Result<()> {
    let body = json!({"id": "audited", "name": "x", "price": "1", "stock": 5});
    admin.create(body).await?;
    admin.patch("audited", json!({"price": "2"})).await?;
    admin.patch("audited", json!({"price": "2.0"})).await?;
    buyer.reserve("audited", None).await?;
    with_token(&admin.api, Method::DELETE, &product("audited"), &admin.token).await?;
    let path = "/api/v1/audit?object=product:audited";
    let page = with_token(&admin.api, Method::GET, path, &admin.token).await?;
    let entries = page.json::<AuditPage>().entries;
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.action, entry.actor.as_deref().unwrap_or_default()))
        .collect();
    let expected = [
        ("product_deleted", "root"),
        ("product_reserved", "buyer"),
        ("product_changed", "root"),
        ("product_created", "root"),
    ];
    assert_eq!(seen, expected);
    let reserved = entries[1].after.as_ref().context("after")?;
    assert_eq!((&reserved["stock"], &reserved["price"]), (&json!(4), &json!("2.00")));
    assert!(entries[0].after.is_none() && entries[3].before.is_none());
    let bad = with_token(&admin.api, Method::GET, "/api/v1/audit?object=file:x", &admin.token);
    bad.await?.problem(ErrorCode::InvalidQuery);
    Ok(())
}
