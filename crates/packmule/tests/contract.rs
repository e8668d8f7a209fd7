//! What scripts rely on: exit codes, which stream says what, the JSON lines, the help. Does not
//! look into what the commands are for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{Place, Said, contents, objects, objects_of, open, s, signal, until, walk};

/// Every command, by the words that call it, and whether others follow it.
fn commands(place: &Place) -> Vec<(Vec<String>, bool)> {
    let (mut found, mut pending) = (Vec::new(), vec![Vec::new()]);
    while let Some(path) = pending.pop() {
        let mut arguments: Vec<String> = path.clone();
        arguments.push("--help".into());
        let said = place.run(&arguments).exits(0);
        let below: Vec<String> = said
            .stdout
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| line.starts_with("  "))
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .filter(|name| name != "help")
            .collect();
        let is_group = !below.is_empty();
        pending.extend(below.into_iter().map(|name| [path.clone(), vec![name]].concat()));
        found.push((path, is_group));
    }
    assert!(found.len() > 12, "{found:?}");
    found
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let place = Place::new();
    for (path, is_group) in commands(&place) {
        let help = place.run(&[path.clone(), vec!["--help".into()]].concat()).exits(0);
        assert_eq!(help.stderr, "", "help is what was asked for: {path:?}");
        assert!(help.stdout.contains("Usage: packmule"), "{path:?}");
        let example = format!("Example: packmule {}", path.join(" "));
        // A long example is wrapped anywhere.
        let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(is_group || text.contains(&example), "{path:?} has no example:\n{}", help.stdout);
    }
}

#[test]
fn what_nobody_knows_is_a_wrong_command_line() {
    let place = Place::new();
    for (path, is_group) in commands(&place) {
        let mut wrong = vec![[path.clone(), vec!["--no-such-flag".into()]].concat()];
        if is_group {
            wrong.push(path.clone());
            wrong.push([path, vec!["no-such-command".into()]].concat());
        }
        for arguments in wrong {
            let said = place.run(&arguments).exits(2);
            assert_eq!(said.stdout, "", "{arguments:?}");
            assert!(said.stderr.contains("Usage"), "{arguments:?}: {}", said.stderr);
        }
    }
    place.run(&["repo", "backup", "-r", "repo"]).exits(2).tells(&["PATH"]);
    place
        .run(&["repo", "backup", "-r", "repo", "--pack-size", "1MiB", "."])
        .exits(2)
        .tells(&["4 MiB"]);
    place.run(&["repo", "restore", "-r", "repo", "latest"]).exits(2).tells(&["--target"]);
    place.run(&["seed", "prepare", "-r", "repo"]).exits(2).tells(&["--drive"]);
    place
        .run(&["seed", "verify", "--drive", ".", "--signer", "1234"])
        .exits(2)
        .tells(&["--signer"]);
}

#[test]
fn the_help_documents_every_exit_code() {
    let help = Place::new().run(&["--help"]).exits(0).stdout;
    let (_, table) = help.split_once("Exit codes:\n").unwrap();
    let code = |line: &str| line.split_whitespace().next()?.parse().ok();
    let listed: Vec<u8> = table.lines().filter_map(code).collect();
    assert_eq!(listed, [0, 1, 2, 3, 4, 10, 11, 12, 13, 130]);
}

/// A source and a repository with one snapshot of it.
fn backed_up(place: &Place) -> (String, String) {
    let (repository, source) = (place.repository("repo"), place.source("source", 300_000));
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    (s(&repository).to_owned(), s(&source).to_owned())
}

/// Runs a command as text and as JSON; both end alike. Answers both.
#[track_caller]
fn both(place: &Place, arguments: &[&str], code: i32) -> (Said, Said) {
    let text = place.run(arguments).exits(code);
    let json = place.run(&[arguments, &["--json"]].concat()).exits(code);
    json.objects();
    assert!(!text.stdout.contains("\"message_type\""), "{}", text.stdout);
    for said in [&text, &json] {
        assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{said:?}");
    }
    if matches!(code, 0 | 3) {
        assert_eq!(json.stderr, "", "in JSON form everything is an object on the standard output");
        assert!(!text.stderr.contains("error:"), "{}", text.stderr);
    } else if text.stderr.contains("error: ") {
        let error: Value = serde_json::from_str(json.stderr.trim()).expect("one object");
        assert_eq!((&error["message_type"], &error["code"]), (&"exit_error".into(), &code.into()));
        let first = text.stderr.lines().find_map(|line| line.strip_prefix("error: ")).unwrap();
        assert!(error["message"].as_str().unwrap().starts_with(first), "{error} and {first}");
    }
    (text, json)
}

#[test]
fn engine_commands_write_their_results_to_stdout_in_both_forms() {
    let place = Place::new();
    let (repository, source) = backed_up(&place);
    let r = repository.as_str();
    let (text, json) = both(&place, &["repo", "backup", "-r", r, &source], 0);
    text.shows(&["files: ", "snapshot ", " saved"]).tells(&["comparing with snapshot"]);
    let summary = json.object("summary");
    assert_eq!(summary["files_unmodified"], 3);
    assert_eq!(summary["problems"], 0);
    assert_eq!(summary["snapshot_id"].as_str().unwrap().len(), 64);

    let (text, json) = both(&place, &["repo", "snapshots", "-r", r], 0);
    text.shows(&[&source, "3 snapshots"]);
    let listed = json.objects();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|o| o["message_type"] == "snapshot" && o["paths"][0] == *source));

    let (text, json) = both(&place, &["repo", "ls", "-r", r, "latest"], 0);
    text.shows(&[&format!("{source}/folder/small\n"), &format!("{source}/folder/\n")]);
    let small = json.objects().into_iter().find(|o| o["path"] == format!("{source}/folder/small"));
    assert_eq!(small.unwrap()["size"], 5);

    let (text, json) = both(&place, &["repo", "check", "-r", r, "--read-data"], 0);
    text.shows(&["no damage found"]);
    assert_eq!(json.object("summary")["damaged"], 0);
    assert!(json.object("summary")["packs_read"].as_u64().unwrap() > 0);

    let restore = ["repo", "restore", "-r", r, "latest", "--target"];
    place.run(&[&restore[..], &["text"]].concat()).exits(0).shows(&["restored 3 files"]);
    let json = place.run(&[&restore[..], &["json", "--json"]].concat()).exits(0);
    assert_eq!(json.object("summary")["files_restored"], 3);
}

#[test]
fn making_a_repository_says_which_and_warns_of_the_password() {
    let place = Place::new();
    place.run(&["repo", "init", "-r", "text"]).exits(0).shows(&["made repository", "password"]);
    let json = place.run(&["repo", "init", "-r", "json", "--json"]).exits(0);
    assert_eq!(json.object("initialized")["repository"], "json");
    let (text, _) = both(&place, &["repo", "init", "-r", "text"], 1);
    text.tells(&["text already holds a repository"]);
}

#[test]
fn seed_commands_write_their_results_to_stdout_in_both_forms() {
    let place = Place::new();
    let (repository, source) = backed_up(&place);
    let r = repository.as_str();
    let [one] = place.drives();
    let (d, into) = (s(&one), place.path("vault"));
    let prepare = ["seed", "prepare", "-r", r, "--drive", d];
    let (text, json) = both(&place, &[&prepare[..], &["--dry-run"]].concat(), 0);
    text.shows(&["objects"]);
    assert_eq!(json.object("planned_drive")["path"], d);
    assert!(walk(&one).is_empty(), "a dry run writes nothing");

    let (text, json) = both(&place, &prepare, 0);
    let text = text.shows(&["sealed", "every object of the seed is on a sealed drive"]);
    let summary = json.object("summary");
    assert_eq!((&summary["complete"], &summary["remaining_objects"]), (&true.into(), &0.into()));
    let signer = summary["signer"].as_str().unwrap();
    assert!(text.stdout.contains(&format!("signer: {signer}")));

    let (text, json) = both(&place, &["seed", "verify", "--drive", d, "--signer", signer], 0);
    text.shows(&["intact", signer]);
    assert_eq!(json.object("drive")["intact"], true);
    assert_eq!(json.object("drive")["trusted"], true);

    let import = ["seed", "import", "--drive", d, "--into", s(&into), "--signer", signer];
    let (text, json) = both(&place, &import, 0);
    text.shows(&["taken in", "complete and published"]);
    json.object("published");
    let (text, json) = both(&place, &["seed", "missing", "--into", s(&into)], 0);
    text.shows(&["nothing is missing"]);
    assert_eq!(json.object("summary")["missing_objects"], 0);
    place.run(&["repo", "restore", "-r", s(&into), "latest", "--target", "out"]).exits(0);
    support::same(Path::new(&source), &place.path("out").join(source.trim_start_matches('/')));
}

#[test]
fn a_quiet_command_still_gives_its_result_and_its_problems() {
    let place = Place::new();
    let (repository, source) = backed_up(&place);
    let said = place.run(&["-q", "repo", "backup", "-r", &repository, &source]).exits(0);
    assert_eq!(said.stderr, "");
    said.shows(&["saved"]);
    place.run(&["-q", "repo", "ls", "-r", "elsewhere"]).exits(10).tells(&["error: "]);
}

#[test]
fn environment_is_used_and_flags_win_over_it() {
    let place = Place::new();
    let (repository, _) = backed_up(&place);
    let snapshots = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = place.packmule(&[&["repo", "snapshots"], arguments].concat());
        command.env_remove("PACKMULE_PASSWORD").envs(environment.iter().copied());
        Said::of(command.output().unwrap())
    };
    std::fs::write(place.path("right"), format!("{}\nanother line\n", support::PASSWORD)).unwrap();
    std::fs::write(place.path("wrong"), "wrong").unwrap();
    std::fs::write(place.path("empty"), "\n").unwrap();
    let at = ("PACKMULE_REPOSITORY", repository.as_str());
    let by_file = ("PACKMULE_PASSWORD_FILE", "right");
    snapshots(&[at, by_file], &[]).exits(0).shows(&["1 snapshots"]);
    snapshots(&[at, by_file, ("PACKMULE_JSON", "true")], &[]).exits(0).object("snapshot");
    snapshots(&[("PACKMULE_REPOSITORY", "nowhere"), by_file], &["-r", &repository]).exits(0);
    snapshots(&[at, ("PACKMULE_PASSWORD_FILE", "wrong")], &["--password-file", "right"]).exits(0);
    snapshots(&[at, ("PACKMULE_PASSWORD_FILE", "empty")], &[]).exits(1).tells(&["empty"]);
    snapshots(&[at, ("PACKMULE_PASSWORD_FILE", "none")], &[]).exits(1).tells(&["none"]);
    snapshots(&[at], &[]).exits(1).tells(&["PACKMULE_PASSWORD", "--password-file"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_ours() {
    let place = Place::new();
    let (repository, _) = backed_up(&place);
    let mut child = place.start(&["repo", "ls", "-r", &repository]);
    drop(child.stdout.take());
    assert_eq!(Said::of(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn a_terminal_gets_no_colour_where_none_is_wanted() {
    let place = Place::new();
    let on_a_terminal = |colour: bool| {
        let command = format!("{} repo --help", env!("CARGO_BIN_EXE_packmule"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
        if colour {
            script.env_remove("NO_COLOR")
        } else {
            script.env("NO_COLOR", "1")
        };
        script.current_dir(place.folder("."));
        script.output().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let Ok(plain) = on_a_terminal(false) else {
        return support::skip(
            "a_terminal_gets_no_colour_where_none_is_wanted",
            "there is no script(1)",
        );
    };
    assert!(plain.contains("Usage") && !plain.contains("\u{1b}["), "{plain:?}");
    assert!(on_a_terminal(true).unwrap().contains("\u{1b}["), "so the terminal was one");
}

// The table of exit codes, each number by a real case. 0 and 2 are everywhere above.

#[test]
fn code_1_what_was_asked_for_cannot_be_done() {
    let place = Place::new();
    let (repository, _) = backed_up(&place);
    let r = repository.as_str();
    let before = contents(Path::new(r));
    both(&place, &["repo", "backup", "-r", r, "nothing-here"], 1)
        .0
        .tells(&["nothing-here", "not there"]);
    both(&place, &["repo", "ls", "-r", r, "abcdef"], 1).0.tells(&["abcdef", "0 snapshots"]);
    let target = ["--target", "out"];
    both(&place, &[&["repo", "restore", "-r", r, "ffff"], &target[..]].concat(), 1)
        .0
        .tells(&["ffff"]);
    let below = [&["repo", "restore", "-r", r, "latest:/no/such"], &target[..]].concat();
    both(&place, &below, 1).0.tells(&["/no/such"]);
    both(&place, &["repo", "ls", "-r", "s3:host/bucket"], 1)
        .0
        .tells(&["not supported", "rest:https"]);
    both(&place, &["repo", "ls", "-r", "rest:http://127.0.0.1:9/", "--cacert", "none.pem"], 1)
        .0
        .tells(&["none.pem"]);
    both(&place, &["seed", "import", "--drive", ".", "--into", "rest:http://x/"], 1)
        .0
        .tells(&["dock import"]);
    both(&place, &["seed", "missing", "--into", "nowhere"], 1).0.tells(&["nowhere"]);
    both(&place, &["serve", "--data", "d", "--storage", "s3:x"], 1).0.tells(&["--storage"]);
    both(&place, &["vault", "list", "--server", "none.json"], 1).0.tells(&["none.json"]);
    assert_eq!(contents(Path::new(r)), before);
}

#[test]
fn code_3_what_cannot_be_read_is_named_and_the_rest_is_stored() {
    let place = Place::new();
    let (repository, source) = (place.repository("repo"), place.source("source", 1000));
    let secret = source.join("secret");
    std::fs::write(&secret, "nobody reads this").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let backup = |json: &[&str]| {
        let mut command =
            place.packmule(&[&["repo", "backup", "-r", s(&repository), s(&source)], json].concat());
        if support::is_root() {
            // Root reads everything: somebody else must try.
            for path in walk(&repository).iter().chain(&folders(&repository)) {
                std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
            }
            command.uid(65_534).gid(65_534);
        }
        Said::of(command.output().unwrap())
    };
    let runs = backup(&["--help"]);
    if runs.code != 0 {
        return support::skip(
            "code_3_what_cannot_be_read_is_named_and_the_rest_is_stored",
            "no other user may run the binary",
        );
    }
    backup(&[]).exits(3).tells(&["warning: ", "secret", "cannot be read"]).shows(&["saved"]);
    let json = backup(&["--json"]).exits(3);
    assert!(json.object("problem")["item"].as_str().unwrap().ends_with("secret"));
    assert_eq!(json.object("summary")["problems"], 1);
    place.run(&["repo", "ls", "-r", s(&repository)]).exits(0).shows(&["folder/small"]);
    place.run(&["repo", "check", "-r", s(&repository), "--read-data"]).exits(0);
}

fn folders(below: &Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut at) = (vec![below.to_owned()], 0);
    while let Some(folder) = found.get(at).cloned() {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.is_dir()));
        at += 1;
    }
    found
}

#[test]
fn code_4_damage_is_found_and_named() {
    let place = Place::new();
    let (repository, _) = backed_up(&place);
    let pack = objects_of(Path::new(&repository), "data").remove(0);
    std::fs::remove_file(&pack).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    let (text, json) = both(&place, &["repo", "check", "-r", &repository], 4);
    text.tells(&["damaged", name]).shows(&["findings"]);
    assert!(json.object("summary")["damaged"].as_u64().unwrap() > 0);
    assert!(
        json.objects().iter().any(
            |o| o["message_type"] == "problem" && o["message"].as_str().unwrap().contains(name)
        )
    );
}

#[test]
fn code_10_there_is_no_repository() {
    let place = Place::new();
    place.folder("empty");
    let commands: [&[&str]; 5] = [
        &["backup", "."],
        &["snapshots"],
        &["ls"],
        &["check"],
        &["restore", "latest", "--target", "out"],
    ];
    for location in ["empty", "not-even-a-folder"] {
        for command in commands {
            let (name, rest) = command.split_first().unwrap();
            let arguments = [&["repo", name, "-r", location], rest].concat();
            both(&place, &arguments, 10).0.tells(&[
                "no repository",
                location,
                "packmule repo init",
            ]);
        }
        let prepare = ["seed", "prepare", "-r", location, "--drive", "empty"];
        both(&place, &prepare, 10).0.tells(&["packmule repo init"]);
    }
    assert!(walk(&place.path(".")).is_empty(), "nothing was made on the way");
}

#[test]
fn code_11_a_repository_in_use_is_left_alone() {
    let place = Place::new();
    let (repository, source) = backed_up(&place);
    let before = contents(Path::new(&repository));
    let lock = open(Path::new(&repository)).lock(repo::LockMode::Exclusive).unwrap();
    let (text, _) = both(&place, &["repo", "backup", "-r", &repository, &source], 11);
    text.tells(&[
        "in use",
        "exclusively",
        &format!("process {}", std::process::id()),
        "restic unlock",
    ]);
    assert_eq!(contents(Path::new(&repository)), before);
    drop(lock);
    place.run(&["repo", "backup", "-r", &repository, &source]).exits(0);
    assert!(objects_of(Path::new(&repository), "locks").is_empty());
}

#[test]
fn code_12_a_wrong_password_opens_nothing() {
    let place = Place::new();
    let (repository, source) = backed_up(&place);
    let before = contents(Path::new(&repository));
    std::fs::write(place.path("wrong"), "wrong").unwrap();
    for command in [&["backup", &source][..], &["snapshots"], &["check"]] {
        let (name, rest) = command.split_first().unwrap();
        let arguments =
            [&["repo", name, "-r", &repository, "--password-file", "wrong"], rest].concat();
        both(&place, &arguments, 12).0.tells(&["wrong password", &repository]);
    }
    assert_eq!(contents(Path::new(&repository)), before);
}

#[test]
fn code_13_a_drive_is_wrong_or_missing() {
    let place = Place::new();
    let (repository, _) = backed_up(&place);
    let [empty] = place.drives();
    let d = s(&empty);
    both(&place, &["seed", "verify", "--drive", d], 13).0.tells(&["no label"]);
    both(&place, &["seed", "import", "--drive", d, "--into", "vault"], 13).0.tells(&["drive set"]);
    let nowhere = ["seed", "prepare", "-r", &repository, "--drive", "nowhere"];
    both(&place, &nowhere, 13).0.tells(&["nowhere", "mount"]);
}

#[test]
fn code_130_an_interrupted_backup_says_so_and_its_rerun_completes() {
    let place = Place::new();
    let (repository, source) = (place.repository("repo"), place.source("source", 80 << 20));
    let backup = ["repo", "backup", "-r", s(&repository), s(&source), "--pack-size", "4MiB"];
    for (json, interrupt) in [(false, Signal::INT), (true, Signal::TERM)] {
        let mut arguments = backup.to_vec();
        arguments.extend(json.then_some("--json"));
        let before = objects_of(&repository, "data").len();
        let child = place.start(&arguments);
        until("a pack", || (objects_of(&repository, "data").len() > before).then_some(()));
        signal(&child, interrupt);
        let said = Said::of(child.wait_with_output().unwrap()).exits(130);
        let said = said.tells(&["run the same command again"]);
        if json {
            assert_eq!(objects(&said.stderr)[0]["code"], 130);
        }
        assert!(objects_of(&repository, "locks").is_empty(), "the lock is not left behind");
        assert!(objects_of(&repository, "snapshots").is_empty(), "half a backup is no snapshot");
        place.run(&["repo", "check", "-r", s(&repository)]).exits(0);
    }
    place.run(&backup).exits(0).tells(&["took in", "interrupted"]);
    place
        .run(&["repo", "check", "-r", s(&repository), "--read-data"])
        .exits(0)
        .shows(&["no damage"]);
    let named = format!("latest:{}", s(&source));
    place.run(&["repo", "restore", "-r", s(&repository), &named, "--target", "out"]).exits(0);
    support::same(&source, &place.path("out"));
    support::restic_is_content(
        "code_130_an_interrupted_backup_says_so_and_its_rerun_completes",
        &repository,
    );
}

/// A server that runs, and what its first line said.
struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    fn start(place: &Place) -> Self {
        let arguments = ["serve", "--data", "server", "--listen", "127.0.0.1:0", "--json"];
        let mut command = place.packmule(&arguments);
        let log = std::fs::File::create(place.path("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { ready: objects(&line).remove(0), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_is_administered_in_both_forms_and_ends_on_ctrl_c() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let mut server = Server::start(&place);
    assert_eq!(server.ready["message_type"], "ready");
    assert!(server.ready["endpoint"].as_str().unwrap().starts_with("https://127.0.0.1:"));
    let admin = server.ready["admin"].as_str().unwrap().to_owned();
    let with =
        |arguments: &[&'static str]| -> Vec<&str> { [arguments, &["--server", &admin]].concat() };

    let (text, json) = both(&place, &with(&["storage-account", "create", "seedacct"]), 0);
    text.shows(&["storage account seedacct"]);
    assert_eq!(json.object("storage_account")["name"], "seedacct");
    let (text, json) = both(&place, &with(&["storage-account", "list"]), 0);
    assert_eq!(text.stdout, "seedacct\n");
    json.object("storage_account");
    both(&place, &with(&["vault", "create", "branch-offices"]), 0)
        .0
        .shows(&["vault branch-offices"]);

    let credentials =
        ["vault", "credentials", "branch-offices", "--for", "fs01", "-o", "fs01.json"];
    let text = place.run(&with(&credentials)).exits(0).shows(&["fs01.json", "secret"]);
    let file = std::fs::read_to_string(place.path("fs01.json")).unwrap();
    let token = serde_json::from_str::<Value>(&file).unwrap()["token"].as_str().unwrap().to_owned();
    assert!(
        !text.stdout.contains(&token),
        "a secret is written where it was asked for, nowhere else"
    );
    let mode = std::fs::metadata(place.path("fs01.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    both(&place, &with(&credentials), 1).0.tells(&["fs01"]);
    assert_eq!(
        std::fs::read_to_string(place.path("fs01.json")).unwrap(),
        file,
        "a refusal changes nothing"
    );
    let json = place.run(&[&with(&credentials)[..], &["--replace", "--json"]].concat()).exits(0);
    assert_eq!(json.object("credentials")["path"], "fs01.json");
    let (text, json) = both(&place, &with(&["vault", "list"]), 0);
    assert_eq!(text.stdout, "branch-offices: fs01\n");
    json.object("vault");
    let unknown = ["vault", "credentials", "nobodys", "--for", "fs02", "-o", "fs02.json"];
    both(&place, &with(&unknown), 1).0.tells(&["nobodys"]);
    assert!(!place.path("fs02.json").exists());

    place.run(&with(&["vault", "create", "no spaces"])).exits(2);
    place.run(&["vault", "list", "--server", "fs01.json"]).exits(1).tells(&["error: "]);
    both(&place, &["serve", "--data", "server", "--listen", "127.0.0.1:0"], 11)
        .0
        .tells(&["server"]);

    signal(&server.child, Signal::INT);
    let ended = server.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0));
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(!log.contains('\u{1b}'), "a file is no terminal: {log}");
    assert!(!log.contains(&token), "no secret in the log");
    place.run(&with(&["vault", "list"])).exits(1).tells(&["error: "]);
}
