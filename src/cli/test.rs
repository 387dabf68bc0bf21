//! `vicar test`: the policy's own tests.

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    Done, Failure, Options, Output,
    options::now,
    print::{complain, nearby, say, say_json, tell},
    when::count,
};
use crate::{
    lifecycle,
    policy::{self, Case, Report},
    source::{Complaints, Source},
    terminal::{Colours, Ink, printable},
};

/// Run the policy's own tests.
#[derive(Debug, Args)]
#[command(
    long_about = "Run the policy's own tests: what stands under `tests:` in the policy, and in further files.\n\nExit 0 if all pass, 1 if not. An edit whose own tests fail is not taken by a running sidecar either.",
    after_help = "Example:\n  vicar test\n  vicar test --policy new.yaml --file more-tests.yaml --junit report.xml"
)]
pub(super) struct TestArgs {
    /// Test this policy instead of the one the settings name.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A file with further `tests:` (repeatable).
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Write a report in JUnit's XML, as CI systems take it.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// The tests of one file, and what came of them.
#[derive(Debug)]
struct Suite {
    file: String,
    report: Report,
}

pub(super) fn run(args: TestArgs, options: &Options) -> Done {
    let loaded = options.settings_with(args.policy)?;
    let mut complaints = Complaints::default();
    let Some(documents) = lifecycle::documents_untested(&loaded.settings, &mut complaints) else {
        return Err(Failure::documents(&complaints));
    };
    let (now, terms) = (now(), lifecycle::terms(&loaded.settings));
    let own = policy::verify(&documents.policy, &documents.catalog, &terms, now);
    let mut suites = vec![Suite { file: nearby(&documents.policy_source.name), report: own }];
    for path in &args.file {
        let read = match Source::read(path) {
            Ok(source) => policy::load_tests(&source, &mut complaints).map(|tests| (source, tests)),
            Err(error) => {
                complaints.unreadable(&path.display().to_string(), &error);
                None
            }
        };
        if let Some((source, tests)) = read {
            suites.push(Suite { file: source.name, report: tests.run(&documents.policy, &documents.catalog, &terms, now) });
        }
    }
    if complaints.has_errors() {
        return Err(Failure::documents(&complaints));
    }
    if let Some(path) = &args.junit {
        fs::write(path, junit(&suites)).map_err(|cause| Failure::failed(format!("{}: {cause}", path.display())))?;
    }
    complain(&complaints);
    let all = Report {
        passed: suites.iter().map(|suite| suite.report.passed).sum(),
        failed: suites.iter().map(|suite| suite.report.failed).sum(),
        cases: Vec::new(),
    };
    match options.output {
        Output::Json => {
            let cases = suites.into_iter().flat_map(|suite| suite.report.cases).collect();
            say_json(&Report { cases, ..all })?;
        }
        Output::Table => print(&suites, &all)?,
    }
    Ok(ExitCode::from(u8::from(all.failed > 0)))
}

fn print(suites: &[Suite], all: &Report) -> Result<(), Failure> {
    let colours = Colours::of_output();
    for suite in suites {
        for case in &suite.report.cases {
            let (ink, word) = if case.passed { (Ink::Green, "ok  ") } else { (Ink::Red, "FAIL") };
            say(&format!("{}  {}", colours.paint(ink, word), printable(&case.name)))?;
            if let Some(problem) = &case.problem {
                let place = format!("{}:{}", printable(&suite.file), case.line);
                say(&format!("      {place}: {}", printable(problem)))?;
            }
        }
    }
    let tests = count((all.passed + all.failed) as u64, "test");
    let failed = if all.failed > 0 { colours.paint(Ink::Red, &format!("{} failed", all.failed)) } else { "0 failed".to_owned() };
    say(&format!("{tests}: {} passed, {failed}", all.passed))?;
    if all.passed + all.failed == 0 {
        tell(
            "Write some under `tests:` in the policy, such as\n  - {as: reporting, request: GET /dataset/2/Ac1/Vendors/list, expect: allow}",
        );
    }
    Ok(())
}

// ===== JUnit =====

fn junit(suites: &[Suite]) -> String {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for Suite { file, report } in suites {
        let total = report.passed + report.failed;
        let _ = writeln!(out, "  <testsuite name=\"{}\" tests=\"{total}\" failures=\"{}\">", xml(file), report.failed);
        for case in &report.cases {
            junit_case(file, case, &mut out);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn junit_case(file: &str, case: &Case, out: &mut String) {
    let name = xml(&case.name);
    let file = xml(file);
    let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{}\"", case.line);
    match &case.problem {
        None => out.push_str("/>\n"),
        Some(problem) => {
            let _ = writeln!(out, "><failure message=\"{}\"/></testcase>", xml(problem));
        }
    }
}

/// Text for an attribute. What XML 1.0 cannot hold at all becomes the replacement character.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_any_name() {
        assert_eq!(xml("a<b & \"c\"\n\u{1}ä"), "a&lt;b &amp; &quot;c&quot;&#10;\u{fffd}ä");
    }
}
