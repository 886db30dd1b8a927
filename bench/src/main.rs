//! `lb-bench`: measures what Sluice costs, one part per file. Times decide nothing here: the exit status only says
//! whether the measurement could be made.

mod c_loop;
mod machine;
mod packet;
mod report;
mod table;
mod timing;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures what Sluice costs.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    part: Part,
    /// Few repetitions, small sizes: shows that it runs, not how fast.
    #[arg(long, global = true)]
    quick: bool,
    /// Also write the result to this file, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Part {
    /// Building, refilling and merging lookup tables, beside a plain Maglev loop in C.
    Table,
    /// Nanoseconds per packet within the kernel (as root).
    Packet(packet::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cfg!(debug_assertions) {
        eprintln!("warning: built without optimisation, these times mean nothing; use `cargo run --release`");
    }
    let report = match cli.part {
        Part::Table => table::measure(cli.quick)?,
        Part::Packet(args) => packet::measure(&args, cli.quick)?,
    };
    print!("{report}");
    cli.json.map_or(Ok(()), |path| report.write_json(&path))
}
