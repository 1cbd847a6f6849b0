//! Lists of products: orders, filters, search, and pages of them.

use anyhow::{Context, Result, ensure};
use proto_contracts::products::{Product, ProductPage, ProductSort};
use proto_contracts::{ErrorCode, Role};
use serde_json::json;

use super::{PRODUCTS, User};
use crate::api::Api;
use crate::small_stack;

#[tokio::test]
async fn lists_of_products() -> Result<()> {
    let stack = small_stack().stateless(2).start().await?;
    let api = Api::on_gateway(&stack)?;
    let all = pages(&api, "limit=100").await?;
    assert_eq!(all.len(), 24);
    every_order_is_complete(&api, &all).await?;
    filters_and_searches(&api, &all).await?;
    hostile_queries(&api).await?;
    let admin = User::new(&stack, &api, "root", Role::Admin).await?;
    for round in 0..10 {
        let name = format!("Zeppelin {round}");
        ensure!(admin.create(json!({"name": name, "price": "3", "stock": 1})).await?.status == 201);
        for instance in ["stateless-1", "stateless-2"] {
            let instance = Api::on_instance(&stack, instance)?;
            let found = pages(&instance, "q=zeppelin&sort=-name&in_stock=true").await?;
            assert_eq!(found.len(), round + 1, "a new product is found at once");
            assert_eq!(found[0].name, name);
        }
    }
    stack.shutdown().await;
    Ok(())
}

/// All pages of a list, by the links of each.
async fn pages(api: &Api, query: &str) -> Result<Vec<Product>> {
    let mut all = Vec::new();
    let mut query = query.to_owned();
    loop {
        let response = api.get(&format!("{PRODUCTS}?{query}")).await?;
        ensure!(response.status == 200, "{query}: {response}");
        let link = response.header("link").context("Link")?.to_owned();
        let page: ProductPage = response.json();
        all.extend(page.products);
        let next = link.split(", ").find(|link| link.ends_with("rel=\"next\""));
        ensure!(next.is_some() == page.next_cursor.is_some(), "{link}");
        let Some(next) = next else { return Ok(all) };
        query = next.trim_start_matches("<?").split('>').next().context("a query")?.to_owned();
    }
}

async fn every_order_is_complete(api: &Api, all: &[Product]) -> Result<()> {
    let cents = |product: &Product| product.price.replace('.', "").parse::<u64>().expect("a price");
    for sort in ProductSort::ALL {
        let mut expected = all.to_vec();
        match sort {
            ProductSort::Id | ProductSort::IdDescending => {}
            ProductSort::Name | ProductSort::NameDescending => {
                expected.sort_by(|one, other| one.name.cmp(&other.name));
            }
            ProductSort::Price | ProductSort::PriceDescending => expected.sort_by_key(cents),
            ProductSort::CreatedAt | ProductSort::CreatedAtDescending => {
                expected.sort_by_key(|product| product.created_at);
            }
        }
        if sort.as_str().starts_with('-') {
            expected.reverse();
        }
        for limit in [1, 5, 23, 24, 25] {
            let found = pages(api, &format!("limit={limit}&sort={sort}")).await?;
            assert_eq!(found, expected, "{sort}, {limit} at a time");
        }
    }
    Ok(())
}

async fn filters_and_searches(api: &Api, all: &[Product]) -> Result<()> {
    let with = |fits: &dyn Fn(&Product) -> bool| -> Vec<Product> {
        all.iter().filter(|product| fits(product)).cloned().collect()
    };
    let has = |product: &Product, word: &str| product.name.to_lowercase().contains(word);
    let price = |product: &Product| product.price.parse::<f64>().expect("a price");
    for (query, expected) in [
        ("min_price=100", with(&|product| price(product) >= 100.0)),
        ("max_price=14.90", with(&|product| price(product) <= 14.9)),
        ("min_price=20&max_price=50.5", with(&|p| (20.0..=50.5).contains(&price(p)))),
        ("in_stock=true", with(&|product| product.stock > 0)),
        ("in_stock=false", all.to_vec()),
        ("q=TANDEM+frame", with(&|product| has(product, "tandem frame"))),
        ("q=frame+-steel", with(&|p| has(p, "frame") && !has(p, "steel"))),
        ("q=bell+or+saddle", with(&|p| has(p, "bell") || has(p, "saddle"))),
        ("q=%22bell+for+two%22", with(&|product| has(product, "bell for two"))),
        ("q=crankset&max_price=140", with(&|p| has(p, "crankset") && price(p) <= 140.0)),
        ("q=unicycle", Vec::new()),
    ] {
        for limit in [2, 100] {
            let found = pages(api, &format!("{query}&limit={limit}")).await?;
            assert_eq!(found, expected, "{query}");
        }
        ensure!(query == "q=unicycle" || !expected.is_empty(), "{query} finds something");
    }
    Ok(())
}

async fn hostile_queries(api: &Api) -> Result<()> {
    // Any text is a search.
    for text in [
        "%27%29%3B+DROP+TABLE+products%3B--",
        "%26%7C%21%28%29%3A%2A",
        "%5C",
        "%22",
        "%F0%9F%9A%B2",
        "%D9%A1",
        "a%3A%2A",
        "%3C-%3E",
        "%25s",
        "or",
        "-",
        "%00a%00",
    ] {
        let response = api.get(&format!("{PRODUCTS}?q={text}")).await?;
        ensure!(matches!(response.status, 200 | 400), "{text}: {response}");
    }
    let long = format!("q={}", "x".repeat(201));
    for query in [
        "q=",
        "q=a%0Ab",
        &long,
        "sort=stock",
        "sort=--id",
        "sort=name%27",
        "sort=",
        "min_price=-1",
        "max_price=1e3",
        "min_price=NaN",
        "min_price=",
        "in_stock=maybe",
        "in_stock=1",
        "limit=0",
        "limit=101",
        "offset=1",
    ] {
        let problem = api.get(&format!("{PRODUCTS}?{query}")).await?;
        let problem = problem.problem(ErrorCode::InvalidQuery);
        let parameter = query.split('=').next();
        assert_eq!(problem.errors[0].parameter.as_deref(), parameter, "{query}: {problem:?}");
    }
    let page: ProductPage = api.get(&format!("{PRODUCTS}?limit=1&sort=price")).await?.json();
    let cursor = page.next_cursor.context("a cursor")?;
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let forged = ["price/p001/1e3", "price/p001/NaN", "created_at/p001/now", "name/p001/a\0b", "/"];
    let forged: Vec<_> = forged.iter().map(|text| hex(text)).collect();
    for (sort, cursor) in ["id", "-price", "name"].map(|sort| (sort, &cursor)).into_iter().chain(
        forged
            .iter()
            .flat_map(|cursor| ["price", "created_at", "name", "id"].map(|sort| (sort, cursor))),
    ) {
        let response = api.get(&format!("{PRODUCTS}?sort={sort}&cursor={cursor}")).await?;
        response.problem(ErrorCode::InvalidCursor);
    }
    Ok(())
}
