//! The tour: the four use cases of a service account, then what is refused.

use serde_json::{Value, json};

use super::{
    DemoError, Ended,
    files::{Keys, POLICY},
    stage::{Scene, Stage},
    terminal::Ink,
};

const ZOE: &str = "Zoe Lindqvist <zoe@acme.example>";
const OMAR: &str = "Omar Haddad <omar@acme.example>";
const MAYA: &str = "Maya Okafor <maya@acme.example>";
const PROCURE: &str = "service account procure-to-pay";
const REPORTING: &str = "service account reporting";

const REQUESTS: &str = "/process/2/Ac1/Purchase_Request";
const ORDERS: &str = "/process/2/Ac1/Purchase_Order";

/// Plays it from beginning to end.
pub(super) async fn play(stage: &mut Stage<'_>, keys: &Keys) -> Result<Ended, DemoError> {
    introduction(stage)?;
    let order = one_initiator(stage, keys).await?;
    somebody_leaves(stage, keys).await?;
    just_those(stage, keys).await?;
    approvals(stage, keys, &order).await?;
    refusals(stage, keys).await?;
    the_log_holds(stage).await?;
    summary(stage)
}

fn introduction(stage: &Stage<'_>) -> Result<(), DemoError> {
    let t = &stage.terminal;
    t.paragraph(&format!(
        "A sample workflow API, which knows human users only, listens on http://{}. Vicar stands in front of it on http://{}, \
         with the service accounts procure-to-pay and reporting. This is the policy in force:\n",
        stage.api().address(),
        stage.vicar()
    ))?;
    let rules = POLICY.split("\ntests:").next().unwrap_or_default();
    for line in rules.trim_end().lines() {
        t.part("", Ink::Dim, line)?;
    }
    Ok(())
}

/// Use case 1. Gives the order that waits for approval.
async fn one_initiator(stage: &mut Stage<'_>, keys: &Keys) -> Result<Value, DemoError> {
    stage.terminal.heading("1. Two processes are chained, and the initiator stays the same person")?;
    let request = purchase_request(stage, "zoe@acme.example", "Laptops", 2400).await?;
    stage.terminal.paragraph(&format!(
        "Zoe has made the purchase request {} in the product itself, and Maya has approved it. Now the integration takes over.",
        text(&request, "_id")
    ))?;
    let item = stage
        .play(
            Scene::get(format!("{REQUESTS}/{}/{}", text(&request, "_id"), text(&request, "_activity_instance_id")))
                .says("It reads the request as itself, with its key in the two headers.")
                .signed_in_by_headers(&keys.procure)
                .show(&["_id", "Item", "Amount", "_status", "_created_by"])
                .reaches_the_api_as(PROCURE),
        )
        .await?;
    let order = stage
        .play(
            Scene::post(ORDERS, order_from(&item))
                .says("It creates the order with what it has read. Vicar finds Zoe in the body, where the share says, and acts for her.")
                .signed_in(&keys.procure)
                .show(&["_id", "_status", "_created_by"])
                .with_whole_record()
                .reaches_the_api_as(ZOE),
        )
        .await?;
    let submitted = stage
        .play(
            Scene::post(act_on(&order, "submit"), json!({}))
                .says("It submits the order; here it names Zoe in a header.")
                .signed_in(&keys.procure)
                .on_behalf_of("zoe@acme.example")
                .show(&["_id", "_status", "_current_assigned_to"])
                .reaches_the_api_as(ZOE),
        )
        .await?;
    stage
        .play(
            Scene::post(ORDERS, json!({"Item": "Yacht"}))
                .says("Without an initiator it may not create one: orders in the integration's own name are what this avoids.")
                .signed_in(&keys.procure)
                .refused(403, "impersonation-required"),
        )
        .await?;
    stage
        .play(
            Scene::post(ORDERS, json!({"Item": "Yacht"}))
                .says("And nobody acts for the executives, whatever a share says.")
                .signed_in(&keys.procure)
                .on_behalf_of("ceo@acme.example")
                .refused(403, "never-impersonate"),
        )
        .await?;
    Ok(submitted)
}

/// Use case 2.
async fn somebody_leaves(stage: &mut Stage<'_>, keys: &Keys) -> Result<(), DemoError> {
    stage.terminal.heading("2. Whoever built the integration leaves, and nothing stops working")?;
    let token = stage.api().sign_in("ivan@acme.example").unwrap_or_default();
    stage.api().deactivate("ivan@acme.example");
    stage
        .play(
            Scene::get("/dataset/2/Ac1/Vendors/list")
                .says("Ivan built it. Had it used his own session at the API, as such things did before, his leaving would end it:")
                .in_session("IVAN", &token)
                .refused_by_the_api(401),
        )
        .await?;
    let request = purchase_request(stage, "omar@acme.example", "Whiteboard", 310).await?;
    stage
        .play(
            Scene::post(ORDERS, order_from(&request))
                .says(
                    "Its key belongs to the service account, and to no person. Omar's request becomes an order as if nothing had happened.",
                )
                .signed_in(&keys.procure)
                .show(&["_id", "_status", "_created_by"])
                .reaches_the_api_as(OMAR),
        )
        .await?;
    Ok(())
}

/// Use case 3.
async fn just_those(stage: &mut Stage<'_>, keys: &Keys) -> Result<(), DemoError> {
    stage.terminal.heading("3. A script reads datasets and boards from outside, and just those")?;
    let script = &keys.reporting;
    stage
        .play(Scene::get("/dataset/2/Ac1/Vendors/list?page_size=2").signed_in(script).show(&["Total"]).reaches_the_api_as(REPORTING))
        .await?;
    stage
        .play(
            Scene::post("/case/2/Ac1/Office_Moves/all/items", json!({"Columns": ["Title"]}))
                .says("A list that is asked for by POST is still a list.")
                .signed_in(script)
                .show(&["Total"])
                .reaches_the_api_as(REPORTING),
        )
        .await?;
    stage
        .play(
            Scene::get("/dataset/2/Ac1/Salaries/list")
                .says("Salaries are a dataset too, but a deny rule keeps them back.")
                .signed_in(script)
                .refused(403, "denied-by-rule"),
        )
        .await?;
    stage.play(Scene::get("/user/2/Ac1").says("The users were never shared with it.").signed_in(script).refused(403, "not-shared")).await?;
    stage
        .play(
            Scene::post("/dataset/2/Ac1/Vendors", json!({"Name": "Shell company"}))
                .says("Nor was writing.")
                .signed_in(script)
                .refused(403, "not-shared"),
        )
        .await?;
    Ok(())
}

/// Use case 4.
async fn approvals(stage: &mut Stage<'_>, keys: &Keys, order: &Value) -> Result<(), DemoError> {
    stage.terminal.heading("4. A bot approves for people who delegated to it, and the log shows both")?;
    stage
        .play(
            Scene::post(act_on(order, "submit"), json!({}))
                .says("Maya delegated the approval of orders. The record holds the bot (account) and the person (subject).")
                .signed_in(&keys.procure)
                .on_behalf_of("maya@acme.example")
                .show(&["_id", "_status", "_approved_by"])
                .reaches_the_api_as(MAYA),
        )
        .await?;
    stage
        .play(
            Scene::post(act_on(order, "submit"), json!({}))
                .says("Lena did not.")
                .signed_in(&keys.procure)
                .on_behalf_of("lena@acme.example")
                .refused(403, "impersonation-not-allowed"),
        )
        .await?;
    Ok(())
}

async fn refusals(stage: &mut Stage<'_>, keys: &Keys) -> Result<(), DemoError> {
    stage.terminal.heading("5. And what does not get past it")?;
    let vendors = || Scene::get("/dataset/2/Ac1/Vendors/list");
    stage.play(vendors().says("No key.").refused(401, "credentials-missing")).await?;
    stage
        .play(
            vendors()
                .says("A key with another one's secret. The caller does not hear what was wrong; the record says it.")
                .with_secret_of(&keys.reporting, &keys.procure)
                .refused_because(401, "credentials-invalid", "secret-wrong"),
        )
        .await?;
    stage
        .play(
            vendors()
                .says("A caller who claims to be somebody: the claim is taken off, and the API sees whom Vicar vouches for.")
                .signed_in(&keys.reporting)
                .header("X-Forwarded-User", "ceo@acme.example")
                .header("X_Forwarded_User", "ceo@acme.example")
                .show(&["Total"])
                .reaches_the_api_as(REPORTING),
        )
        .await?;
    stage
        .play(
            Scene::get("/backup/2/Ac1/everything")
                .says("An endpoint that no catalog names.")
                .signed_in(&keys.reporting)
                .refused(403, "endpoint-unknown"),
        )
        .await?;
    stage
        .play(
            vendors()
                .says("The old laptop still has a key of its own. It works …")
                .signed_in(&keys.spare)
                .show(&["Total"])
                .reaches_the_api_as(REPORTING),
        )
        .await?;
    stage.command(&["key", "disable", &keys.spare.id, "--yes"]).await?;
    stage
        .play(vendors().says("… until somebody turns it off, with no restart.").signed_in(&keys.spare).takes_hold().refused_because(
            401,
            "credentials-invalid",
            "key-disabled",
        ))
        .await?;
    Ok(())
}

/// The promise that the rest stands on.
async fn the_log_holds(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.terminal.line("")?;
    stage.terminal.paragraph("Each record holds the hash of the one before it, so the log tells whether anybody has edited it.")?;
    let told = stage.command(&["audit", "verify"]).await?;
    for line in told.lines() {
        stage.terminal.part("", Ink::Green, line)?;
    }
    Ok(())
}

fn summary(stage: &mut Stage<'_>) -> Result<Ended, DemoError> {
    let t = &stage.terminal;
    let total = stage.allowed + stage.refused;
    if stage.surprises.is_empty() {
        t.heading("All as expected")?;
        t.paragraph(&format!(
            "{total} requests: {} went through, {} were refused, and the audit log has a record of each that came to Vicar.",
            stage.allowed, stage.refused
        ))?;
        return Ok(Ended::AsExpected);
    }
    t.heading("Not as expected")?;
    for surprise in &stage.surprises {
        t.part("·", Ink::Red, surprise)?;
    }
    Ok(Ended::Otherwise(stage.surprises.clone()))
}

/// What to do while the demo stays up.
pub(super) fn say_what_to_try(stage: &mut Stage<'_>, keys: &Keys) -> Result<(), DemoError> {
    let t = &stage.terminal;
    let folder = stage.folder().path().display();
    t.heading("Your turn")?;
    t.paragraph("Vicar stays up. In another terminal, what is above works too, and:\n")?;
    let (procure, reporting) = (keys.procure.variable, keys.reporting.variable);
    for line in [
        format!(". {folder}/env"),
        format!("curl -u \"${reporting}\" $VICAR/dataset/2/Ac1/Vendors/list"),
        format!("curl -u \"${reporting}\" $VICAR/.vicar/whoami"),
        format!("curl -u \"${procure}\" $VICAR{ORDERS} --json '{{\"Item\":\"Chair\",\"_created_by\":{{\"Email\":\"zoe@acme.example\"}}}}'"),
        "vicar explain --as reporting GET /dataset/2/Ac1/Salaries/list".to_owned(),
        format!("$EDITOR {folder}/policy.yaml"),
    ] {
        t.command(&line)?;
    }
    t.paragraph("\nAn edit of the policy takes effect when it is saved, if it holds.")?;
    t.paragraph("The audit log, live (Ctrl-C ends the demo and removes its files):\n")
}

// ===== the product's own side =====

/// A request that a user made in the product and Maya approved there.
async fn purchase_request(stage: &mut Stage<'_>, user: &str, item: &str, amount: u32) -> Result<Value, DemoError> {
    let made = stage.as_user(user, REQUESTS, json!({"Item": item, "Amount": amount})).await?;
    let path = |item: &Value| format!("{REQUESTS}/{}/{}/submit", text(item, "_id"), text(item, "_activity_instance_id"));
    let waiting = stage.as_user(user, &path(&made), Value::Null).await?;
    stage.as_user("maya@acme.example", &path(&waiting), Value::Null).await
}

/// What an integration sends on when it turns a request into an order.
fn order_from(request: &Value) -> Value {
    let field = |name: &str| request.get(name).cloned().unwrap_or_default();
    let email = request.pointer("/_created_by/Email").cloned().unwrap_or_default();
    json!({"Item": field("Item"), "Amount": field("Amount"), "_created_by": {"Email": email}})
}

fn act_on(item: &Value, step: &str) -> String {
    format!("{ORDERS}/{}/{}/{step}", text(item, "_id"), text(item, "_activity_instance_id"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or("-")
}
