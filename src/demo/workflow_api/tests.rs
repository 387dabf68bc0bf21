use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::*;

const KEY: &str = "gateway-key";

async fn api() -> WorkflowApi {
    let options = Options { api_key: Some(KEY.to_owned()), narrate: false };
    WorkflowApi::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

async fn ask(api: &WorkflowApi, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, Value) {
    let stream = tokio::net::TcpStream::connect(api.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "api");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn through_gateway(user: &str) -> [(&str, &str); 3] {
    [(API_KEY_HEADER, KEY), (ACCOUNT_HEADER, "procure-to-pay"), (USER_HEADER, user)]
}

#[tokio::test]
async fn whoever_the_gateway_names_is_the_initiator_and_nobody_in_the_body_is() {
    let api = api().await;
    let forged = json!({"Item": "Laptops", "_created_by": {"_id": "UsCarlW9hJfS", "Email": "ceo@acme.example"}});
    let (status, item) = ask(&api, "POST", "/process/2/Ac1/Purchase_Order", &through_gateway("zoe@acme.example"), forged).await;
    assert_eq!((status, item["_created_by"]["Email"].as_str()), (200, Some("zoe@acme.example")));
    let (_, item) = ask(&api, "POST", "/process/2/Ac1/Purchase_Order", &through_gateway("UsOmarH5wRxD"), json!({})).await;
    assert_eq!(item["_created_by"], json!({"_id": "UsOmarH5wRxD", "Name": "Omar Haddad", "Kind": "User", "Email": "omar@acme.example"}));
}

#[tokio::test]
async fn an_account_alone_acts_as_itself() {
    let api = api().await;
    let (_, item) =
        ask(&api, "POST", "/process/2/Ac1/Purchase_Order", &[(API_KEY_HEADER, KEY), (ACCOUNT_HEADER, "procure-to-pay")], json!({})).await;
    assert_eq!(item["_created_by"]["Kind"], "ServiceAccount");
}

#[tokio::test]
async fn headers_alone_make_nobody_the_gateway() {
    let api = api().await;
    for headers in [vec![(USER_HEADER, "ceo@acme.example")], vec![(USER_HEADER, "ceo@acme.example"), (API_KEY_HEADER, "guess")], vec![]] {
        let (status, _) = ask(&api, "GET", "/user/2/Ac1", &headers, Value::Null).await;
        assert_eq!(status, 401, "{headers:?}");
    }
}

#[tokio::test]
async fn an_order_goes_from_its_initiator_to_the_approver_and_no_other_way() {
    let api = api().await;
    let zoe = through_gateway("zoe@acme.example");
    let (_, item) = ask(&api, "POST", "/process/2/Ac1/Purchase_Order", &zoe, json!({"Item": "Laptops"})).await;
    let submit = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap().to_owned();
        format!("/process/2/Ac1/Purchase_Order/{}/{}/submit", text("_id"), text("_activity_instance_id"))
    };
    let (early, _) = ask(&api, "POST", &submit(&item), &through_gateway("maya@acme.example"), Value::Null).await;
    assert_eq!(early, 403);
    let (_, waiting) = ask(&api, "POST", &submit(&item), &zoe, Value::Null).await;
    assert_eq!(waiting["_current_assigned_to"]["Email"], "maya@acme.example");
    let (again, _) = ask(&api, "POST", &submit(&item), &zoe, Value::Null).await;
    assert_eq!(again, 409);
    let (own, _) = ask(&api, "POST", &submit(&waiting), &zoe, Value::Null).await;
    assert_eq!(own, 403);
    let (_, done) = ask(&api, "POST", &submit(&waiting), &through_gateway("maya@acme.example"), Value::Null).await;
    assert_eq!((done["_status"].as_str(), done["_approved_by"]["Name"].as_str()), (Some("Completed"), Some("Maya Okafor")));
}

#[tokio::test]
async fn a_user_who_has_left_can_neither_sign_in_nor_be_named() {
    let api = api().await;
    let token = format!("Bearer {}", api.sign_in("ivan@acme.example").unwrap());
    assert_eq!(ask(&api, "GET", "/user/2/Ac1", &[("authorization", &token)], Value::Null).await.0, 200);
    assert!(api.deactivate("ivan@acme.example"));
    assert_eq!(ask(&api, "GET", "/user/2/Ac1", &[("authorization", &token)], Value::Null).await.0, 401);
    assert_eq!(ask(&api, "GET", "/user/2/Ac1", &through_gateway("ivan@acme.example"), Value::Null).await.0, 403);
    assert!(api.sign_in("ivan@acme.example").is_none());
}

#[tokio::test]
async fn what_arrived_can_be_looked_up_by_its_request_id() {
    let api = api().await;
    ask(
        &api,
        "GET",
        "/dataset/2/Ac1/Vendors/list",
        &[("x-request-id", "R1"), (API_KEY_HEADER, KEY), (ACCOUNT_HEADER, "reporting")],
        Value::Null,
    )
    .await;
    let seen = api.received("R1").unwrap();
    assert_eq!((seen.line.as_str(), seen.acting.as_str()), ("GET /dataset/2/Ac1/Vendors/list", "service account reporting"));
}

#[tokio::test]
async fn odd_requests_get_an_answer_and_break_nothing() {
    let api = api().await;
    let zoe = through_gateway("zoe@acme.example");
    for (method, path, body) in [
        ("GET", "/", Value::Null),
        ("GET", "//2/Ac1", Value::Null),
        ("GET", "/process/2/Ac2/Purchase_Order/x/y", Value::Null),
        ("GET", "/user/2/Ac1/?page_number=99999999999999999999&page_size=-1", Value::Null),
        ("GET", "/user/2/Ac1/?page_number=18446744073709551615&page_size=100", Value::Null),
        ("POST", "/user/2/Ac1", json!([1, 2])),
        ("POST", "/dataset/2/Ac1/Nowhere/batch", json!({"Data": [{}]})),
        ("DELETE", "/dataset/2/Ac1/Vendors", json!("x")),
        ("BREW", "/process/2/Ac1/Purchase_Order", Value::Null),
    ] {
        let (status, _) = ask(&api, method, path, &zoe, body).await;
        assert!(status < 500, "{method} {path}: {status}");
    }
    let (status, people) = ask(&api, "GET", "/user/2/Ac1/", &zoe, Value::Null).await;
    assert_eq!((status, people["Total"].as_u64()), (200, Some(6)));
}
