//! `cargo xtask bench agent`: a million files, protected by the agent and its server, and by the engine and its peers into
//! folders: first backup, unchanged, increments of 1 %, and a prune of half the recovery points. Never part of the tests.

use super::machine::Machine;
use super::measure::{self, Usage};
use super::noise::Noise;
use super::options::Options as Peers;
use super::tool::{Action, Place, Tool};
use super::{ground, peers, publish};
use crate::process::{complain, output, say};
use crate::workspace;
use anyhow::{Context, ensure};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

const FILES: u64 = 1_000_000;
/// In each folder.
const FOLDER: u64 = 1000;
/// Bytes of a file, at least and at most.
const LENGTHS: (u64, u64) = (200, 1200);
/// After the first backup and an unchanged one; each changes another hundredth of the files.
const INCREMENTS: u64 = 6;
/// What prune leaves of the `INCREMENTS + 2` there are.
const KEPT: u32 = 4;
const PASSWORD: &str = "a long passphrase for a benchmark";

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    files: u64,
    work: Option<PathBuf>,
    write: bool,
}

impl Options {
    /// Parses the arguments after `bench agent`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { files: FILES, work: None, write: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => options.files = FILES / 50,
                "--files" => {
                    let files = value()?;
                    let number = files.parse().ok().filter(|number| *number >= FOLDER);
                    options.files =
                        number.ok_or(format!("{files} is no number of files from {FOLDER} on"))?;
                }
                "--work" => options.work = Some(value()?.into()),
                "--write" => options.write = true,
                other => return Err(format!("bench agent has no option {other}")),
            }
        }
        Ok(options)
    }
}

/// Runs it and prints the table.
pub(crate) fn agent(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let wanted = ["restic", "rustic"].map(str::to_owned).to_vec();
    let field = peers::field(&root, &Peers { peers: Some(wanted), ..Peers::default() })?;
    for (name, why) in &field.missing {
        complain(&format!("{name} is left out: {why}"));
    }
    let base = options.work.clone().unwrap_or(crate::process::target(&root).join("bench"));
    let base = std::path::absolute(base.join("agent-work"))?;
    if base.exists() {
        std::fs::remove_dir_all(&base)?;
    }
    std::fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let measured = measure_all(options, &field.tools, &base);
    std::fs::remove_dir_all(&base)?;
    let text = render(options.files, &measured?)?;
    say(&text);
    if options.write {
        publish::publish(&root, publish::AGENT, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What one program took. Of the increments, the median.
struct Column {
    name: String,
    cases: [Option<Usage>; 4],
}

const CASES: [&str; 4] = ["first backup", "unchanged", "increment of 1 %", "prune"];

/// Who takes part.
enum Who<'a> {
    Agent(Site),
    Tool(&'a Tool, Place),
}

fn measure_all(options: &Options, tools: &[Tool], base: &Path) -> anyhow::Result<Vec<Column>> {
    let source = base.join("source");
    complain(&format!("making {} files", options.files));
    for number in 0..options.files {
        write_file(&source, number, 0)?;
    }
    let mut all = Vec::new();
    let ours = tools.first().context("ours is missing")?;
    let site = Site::start(&ours.program, base, &source)?;
    all.push((format!("agent, {}", ours.version), Who::Agent(site), Vec::new()));
    for tool in tools {
        let place = Place::new(base.join(tool.name));
        place.make()?;
        tool.init(&place).iter_mut().try_for_each(|command| output(command).map(|_| ()))?;
        all.push((tool.version.clone(), Who::Tool(tool, place), Vec::new()));
    }
    for step in 0..INCREMENTS + 2 {
        if step > 1 {
            (0..options.files)
                .filter(|number| number % 100 == step)
                .try_for_each(|number| write_file(&source, number, step))?;
        }
        for (name, who, took) in &mut all {
            complain(&format!("backup {} of {}: {name}", step + 1, INCREMENTS + 2));
            ground::settle()?;
            let command = who.backup(&source, &format!("backup{step}"))?;
            took.push(measure::run(&command, &base.join("log"))?);
        }
    }
    let mut columns = Vec::new();
    for (name, who, took) in all {
        let mut increments = took.get(2..).unwrap_or_default().to_vec();
        increments.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let median = increments.get(increments.len() / 2).copied();
        let prune = who.prune(base)?;
        columns.push(Column {
            name,
            cases: [took.first().copied(), took.get(1).copied(), median, prune],
        });
    }
    Ok(columns)
}

impl Who<'_> {
    fn backup(&self, source: &Path, name: &str) -> anyhow::Result<Command> {
        match self {
            Self::Agent(site) => Ok(site.packmule(&["backup", "now", "files"])),
            Self::Tool(tool, place) => {
                tool.act(place, Action::Backup(source, name)).context("it makes no backups")
            }
        }
    }

    /// Measured, and then everything that is left is checked.
    fn prune(&self, base: &Path) -> anyhow::Result<Option<Usage>> {
        let Self::Tool(tool, place) = self else { return Ok(None) };
        let Some(command) = tool.act(place, Action::Forget(KEPT)) else { return Ok(None) };
        complain(&format!("prune: {}", tool.version));
        ground::settle()?;
        let log = base.join("log");
        let usage = measure::run(&command, &log)?;
        if let Some(check) = tool.act(place, Action::Check) {
            measure::run(&check, &log)?;
        }
        Ok(Some(usage))
    }
}

/// Half of it text, half of it noise; `version` decides what.
fn write_file(source: &Path, number: u64, version: u64) -> anyhow::Result<()> {
    let folder = source.join((number / FOLDER).to_string());
    if number.is_multiple_of(FOLDER) {
        std::fs::create_dir_all(&folder)?;
    }
    let mut noise = Noise::new(number.wrapping_mul(1000) + version);
    let length = usize::try_from(noise.between(LENGTHS.0, LENGTHS.1))?;
    let mut bytes = vec![b'.'; length];
    noise.fill(bytes.get_mut(length / 2..).unwrap_or_default());
    std::fs::write(folder.join(number.to_string()), bytes)
        .with_context(|| format!("cannot write file {number}"))
}

/// A server, and an agent that is registered with it. The server ends with it.
struct Site {
    program: PathBuf,
    folder: PathBuf,
    server: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Site {
    fn start(program: &Path, base: &Path, source: &Path) -> anyhow::Result<Self> {
        let folder = base.join("site");
        std::fs::create_dir_all(&folder)?;
        let mut server = Command::new(program)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("server"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let out = server.stdout.take().context("the server has no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let site = Self { program: program.to_owned(), folder, server };
        ensure!(line.contains("ready"), "the server does not start: {line}");
        let admin = site.folder.join("server/admin.json");
        let admin = admin.to_str().context("the folder's name is not UTF-8")?;
        let source = source.to_str().context("the folder's name is not UTF-8")?;
        let credentials = ["vault", "credentials", "bench", "-o", "v", "--server", admin];
        let register = ["agent", "register", "--credentials", "v", "--name", "bench"];
        for words in [
            &["vault", "create", "bench", "--server", admin][..],
            &credentials,
            &register,
            &["group", "create", "files", "--path", source],
        ] {
            output(&mut site.packmule(words))?;
        }
        Ok(site)
    }

    fn packmule(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.folder);
        command.env("PACKMULE_PASSWORD", PASSWORD).env("PACKMULE_STATE", self.folder.join("state"));
        command
    }
}

fn render(files: u64, columns: &[Column]) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "{}.", Machine::this().told())?;
    writeln!(
        text,
        "{files} files; seconds (of processor; MiB). The agent stores in a server's vault on the same machine, over TLS; the others in folders.\n"
    )?;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    writeln!(text, "| | {} |", names.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(names.len()))?;
    for (at, case) in CASES.iter().enumerate() {
        let cells = columns.iter().map(|column| match column.cases.get(at).copied().flatten() {
            Some(usage) => format!(
                " {:.2} ({:.1}; {}) |",
                usage.seconds,
                usage.cpu_seconds,
                usage.peak_bytes >> 20
            ),
            None => " |".to_owned(),
        });
        writeln!(text, "| {case} |{}", cells.collect::<String>())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn quick_is_small_and_unknown_options_are_refused() {
        assert!(parsed(&["--quick"]).unwrap().files < parsed(&[]).unwrap().files);
        assert_eq!(parsed(&["--files", "5000", "--write"]).unwrap().files, 5000);
        for wrong in [&["--fast"][..], &["--files"], &["--files", "few"], &["--files", "3"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_program_cannot_do_is_left_empty() {
        let usage = Usage { seconds: 1.5, cpu_seconds: 2.25, peak_bytes: 80 << 20, exit: Some(0) };
        let column =
            Column { name: "it".to_owned(), cases: [Some(usage), Some(usage), None, None] };
        let text = render(1000, &[column]).unwrap();
        assert!(text.contains("| first backup | 1.50 (2.2; 80) |"), "{text}");
        assert!(text.contains("| prune | |"), "{text}");
    }
}
