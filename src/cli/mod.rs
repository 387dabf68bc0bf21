//! The command line: one file a command, and nothing in them that a test could not call in the library.
//!
//! `main` calls [`run`]; nobody else calls anything here.

mod account;
mod admin;
mod audit;
mod catalog;
mod check;
mod completions;
mod confirm;
mod demo;
mod explain;
mod failure;
mod health;
mod init;
mod key;
mod listing;
mod man;
mod operator;
mod options;
mod past;
mod print;
mod progress;
mod schema;
mod serve;
mod simulate;
mod suggest;
mod test;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;
pub use options::{Options, Output};

/// What a command ends with: an exit code, or a failure that says what to do.
pub type Done = Result<ExitCode, Failure>;

/// Vicar gives a users-only API service accounts: it checks access keys, lets each account reach what
/// was shared with it, acts on behalf of users where a rule allows, and audits every action.
#[derive(Debug, Parser)]
#[command(name = "vicar", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Serve(serve::ServeArgs),
    /// See it work: a sample workflow API, Vicar in front of it, and a tour of what it does.
    #[command(after_help = "Example:\n  vicar demo --exit\n  vicar demo --api 127.0.0.1:3000")]
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Test(test::TestArgs),
    Simulate(simulate::SimulateArgs),
    Suggest(suggest::SuggestArgs),
    Account(account::AccountArgs),
    Key(key::KeyArgs),
    Audit(audit::AuditArgs),
    Admin(admin::AdminArgs),
    Catalog(catalog::CatalogArgs),
    Schema(schema::SchemaArgs),
    Health(health::HealthArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Parses the command line and runs what it asks for.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(cli)),
        Err(cause) => Err(Failure::failed(format!("no runtime: {cause}"))),
    };
    done.unwrap_or_else(|failure| failure.report())
}

async fn dispatch(cli: Cli) -> Done {
    let Cli { options, command } = cli;
    match command {
        Command::Init(args) => init::run(args, &options).await,
        Command::Serve(args) => serve::run(args, &options).await,
        Command::Demo(args) => demo::run(args, &options).await,
        Command::Check(args) => check::run(args, &options).await,
        Command::Explain(args) => explain::run(args, &options).await,
        Command::Test(args) => test::run(args, &options),
        Command::Simulate(args) => simulate::run(args, &options).await,
        Command::Suggest(args) => suggest::run(args, &options).await,
        Command::Account(args) => account::run(args, &options).await,
        Command::Key(args) => key::run(args, &options).await,
        Command::Audit(args) => audit::run(args, &options).await,
        Command::Admin(args) => admin::run(args, &options).await,
        Command::Catalog(args) => catalog::run(args, &options),
        Command::Schema(args) => schema::run(args),
        Command::Health(args) => health::run(args, &options).await,
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args, &options),
    }
}
