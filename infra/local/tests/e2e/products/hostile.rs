//! Hostile input: each is a 4xx and changes nothing, or is stored as it is.

use anyhow::Result;
use proto_contracts::products::{Product, ProductPage};
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{PRODUCTS, User, product};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

#[tokio::test]
async fn hostile_products() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    let before: ProductPage = all(&admin).await?;
    values_out_of_range_are_named(&admin).await?;
    raw_bodies_are_rejected(&admin).await?;
    assert_eq!(all(&admin).await?, before);
    text_comes_back(&admin).await?;
    stack.shutdown().await;
    Ok(())
}

async fn all(admin: &User) -> Result<ProductPage> {
    let path = format!("{PRODUCTS}?limit=100");
    Ok(admin.send(Method::GET, &path, json!({}), &[]).await?.json())
}

async fn values_out_of_range_are_named(admin: &User) -> Result<()> {
    let good = json!({"name": "x", "price": "1", "stock": 1});
    let long = "n".repeat(201);
    let prices = [
        "",
        "-1",
        "1.999",
        "1e3",
        "NaN",
        "Infinity",
        "0x10",
        "1,5",
        "01",
        ".5",
        "5.",
        " 1",
        "+1",
        "10000000000",
        "99999999999999999999999999999999999999",
        "1\u{0}",
        "١",
        "１",
        "1;--",
    ];
    let mut wrong: Vec<(&str, Value)> =
        prices.iter().map(|price| ("price", json!(price))).collect();
    wrong.extend([
        ("price", json!(14.9)),
        ("price", json!(null)),
        ("price", json!({"amount": "1"})),
        ("name", json!("")),
        ("name", json!("a\u{0}b")),
        ("name", json!("a\nb")),
        ("name", json!("\u{1b}[31m")),
        ("name", json!("\u{85}")),
        ("name", json!(long)),
        ("name", json!(7)),
        ("name", json!(null)),
        ("stock", json!(-1)),
        ("stock", json!(i64::from(i32::MAX) + 1)),
        ("stock", json!(u64::MAX)),
        ("stock", json!(1.5)),
        ("stock", json!("1")),
        ("stock", json!(null)),
        ("created_at", json!("2026-11-28T17:00:00.123Z")),
        ("__proto__", json!({})),
    ]);
    for (member, value) in wrong {
        let mut body = good.clone();
        body[member] = value.clone();
        let responses =
            [admin.create(body).await?, admin.patch("p001", json!({ member: value })).await?];
        for response in responses {
            let problem = response.problem(ErrorCode::InvalidBody);
            let pointer = problem.errors.first().and_then(|error| error.pointer.as_deref());
            assert_eq!(pointer, Some(&*format!("/{member}")), "{problem:?}");
        }
    }
    for id in ["", "a b", "ä", "p/1", "..", "a\u{0}", "'; DROP TABLE products; --", &long] {
        let mut body = good.clone();
        body["id"] = id.into();
        admin.create(body).await?.problem(ErrorCode::InvalidBody);
    }
    for path in ["%00", "p001%00", "a%20b", "%27--", &long] {
        let response = admin.patch(path, json!({"stock": 1})).await?;
        assert!((400..500).contains(&response.status), "{response}");
        let response = admin.reserve(path, None).await?;
        assert!((400..500).contains(&response.status), "{response}");
    }
    let path = format!("{}/reservations", product("p001"));
    for quantity in
        [json!(0), json!(-1), json!(1_000_001), json!(1e300), json!("1"), json!(null), json!([1])]
    {
        let body = json!({ "quantity": quantity });
        let response = admin.send(Method::POST, &path, body, &[]).await?;
        let problem = response.problem(ErrorCode::InvalidBody);
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("/quantity"));
    }
    Ok(())
}

async fn raw_bodies_are_rejected(admin: &User) -> Result<()> {
    let bodies: [&[u8]; 7] = [
        b"",
        b"[]",
        br#"{"name": "\ud800", "price": "1", "stock": 1}"#,
        b"{\"name\": \"\xff\", \"price\": \"1\", \"stock\": 1}",
        b"{\"name\": \"a\0b\", \"price\": \"1\", \"stock\": 1}",
        br#"{"name": "x", "price": "1", "stock": 1, "stock": 2}"#,
        br#"{"name": "x", "price": "1", "stock": 1e400}"#,
    ];
    for body in bodies {
        let request = admin.api.request(Method::POST, PRODUCTS).bearer_auth(&admin.token);
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let response = Response::to(request).await?;
        assert!([400, 422].contains(&response.status), "{response}");
    }
    Ok(())
}

async fn text_comes_back(admin: &User) -> Result<()> {
    let names = [
        "Robert'); DROP TABLE products;--",
        "<script>alert(1)</script>",
        "👩‍👩‍👧\u{fe0f} \u{202e}nimda",
        "\u{ffff}\u{10ffff}",
        "{\"$ne\": null} %s ${jndi:x}",
        &"李".repeat(200),
    ];
    for name in names {
        let created = admin.create(json!({"name": name, "price": "1", "stock": 1})).await?;
        assert_eq!(created.status, 201, "{created}");
        let added: Product = created.json();
        assert_eq!(added.name, name);
        let read = admin.send(Method::GET, &product(&added.id), json!({}), &[]).await?;
        assert_eq!(read.json::<Product>(), added);
    }
    Ok(())
}
