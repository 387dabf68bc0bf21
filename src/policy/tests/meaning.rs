use super::*;

const PO: &str = "POST /process/2/Ac1/Purchase_Order";

#[test]
fn the_policy_of_the_design_means_what_it_says() {
    let p = policy(DESIGN);
    assert_eq!(p.ask("procure-to-pay", "", "GET /process/2/Ac1/Purchase_Request"), "allow procure-to-pay/shares/1");
    assert_eq!(p.ask("procure-to-pay", "zoe@acme.example", PO), "allow procure-to-pay/shares/2");
    assert_eq!(p.ask("procure-to-pay", "ZOE@Acme.example", PO), "allow procure-to-pay/shares/2");
    assert_eq!(p.ask("procure-to-pay", "any@finance.acme.example", "POST /process/2/Ac1/PO_7"), "allow procure-to-pay/shares/2");
    assert_eq!(p.ask("procure-to-pay", "", PO), "impersonation-required -");
    assert_eq!(p.ask("procure-to-pay", "max@acme.example", PO), "impersonation-not-allowed -");
    assert_eq!(p.ask("procure-to-pay", "ceo@acme.example", PO), "never-impersonate -");
    assert_eq!(p.ask("procure-to-pay", "admin@finance.acme.example", PO), "never-impersonate -");
    assert_eq!(p.ask("procure-to-pay", "zoe@acme.example", "GET /process/2/Ac1/Purchase_Request"), "impersonation-not-allowed -");
    assert_eq!(p.ask("procure-to-pay", "ceo@acme.example", "GET /dataset/2/Ac1/Vendors/list"), "not-shared -");
    assert_eq!(p.ask("reporting", "", "GET /dataset/2/Ac1/Vendors/list"), "allow reporting/shares/1");
    assert_eq!(p.ask("reporting", "", "GET /dataset/2/Ac1/Salaries/list"), "denied-by-rule reporting/deny/1");
    assert_eq!(p.ask("reporting", "", "DELETE /dataset/2/Ac1/Vendors/7"), "not-shared -");
    assert_eq!(p.ask("reporting", "", "GET /nowhere"), "endpoint-unknown -");
    assert_eq!(p.ask("intruder", "", "GET /dataset/2/Ac1/Vendors/list"), "not-shared -");
    let report = verify(&p.policy, &p.catalog, &PathRules::default(), now());
    assert_eq!((report.passed, report.failed), (3, 0), "{report:#?}");
}
