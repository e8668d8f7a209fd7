//! What every command needs of its surroundings: printer, stop sign, who we are, passwords, places.
//! The one place that reads environment and operating system for the engines.

use crate::failure::Failure;
use crate::ui::{Ask as _, Printer, Terminal};
use clap::Args;
use model::{ErrorKind, RecoveryCode};
use repo::{Author, Repository};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use store::{OpenOptions, Proxies, ProxySettings, RestOptions, RetryPolicy, Store, SystemClock};
use zeroize::Zeroizing;

/// Given to every command.
#[derive(Clone)]
pub(crate) struct Context {
    /// Where output goes.
    pub(crate) printer: Printer,
    /// Set by Ctrl-C; a second one ends the process at once.
    pub(crate) stop: Arc<AtomicBool>,
    /// Who runs this, for locks, keys and snapshots.
    pub(crate) author: Author,
    /// Processors to use.
    pub(crate) threads: usize,
}

impl Context {
    /// Looks around.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub(crate) fn new(printer: Printer) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let interrupted = i32::from(crate::exit::code(ErrorKind::Interrupted));
            signal_hook::flag::register_conditional_shutdown(
                signal,
                interrupted,
                Arc::clone(&stop),
            )
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|cause| Failure::new(ErrorKind::Internal, format!("signals: {cause}")))?;
        }
        raise_file_limit();
        set_proxies()?;
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok(Self { printer, stop, author: author(), threads })
    }

    /// Whoever sits there.
    pub(crate) fn terminal(&self) -> Terminal<'_> {
        Terminal { stop: &self.stop }
    }

    /// Opens the place of a repository, without looking whether there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn store(&self, options: &RepoOptions) -> Result<Arc<dyn Store>, Failure> {
        open_store(&options.repo, options.cacert.as_deref())
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`ErrorKind::NoRepository`], [`ErrorKind::WrongPassword`] and those of the store.
    pub(crate) fn repository(&self, options: &RepoOptions) -> Result<Repository, Failure> {
        let store = self.store(options)?;
        // Asking for a password makes no sense where there is nothing to open.
        if let Err(store::Error::NotFound { .. }) = store.length(&model::ObjectKey::Config) {
            return Err(repo::Error::NoRepository { location: store.location() }.into());
        }
        let password = options.password.read(self, false)?;
        Ok(Repository::open(store, password.as_bytes(), self.author.clone())?)
    }
}

/// Opens a location; REST servers are tried again while they are away.
///
/// # Errors
/// Those of the store.
pub(crate) fn open_store(location: &str, cacert: Option<&Path>) -> Result<Arc<dyn Store>, Failure> {
    let ca_pem = match cacert {
        Some(path) => Some(std::fs::read(path).map_err(|e| Failure::io("reading", path, e))?),
        None => None,
    };
    let options = OpenOptions {
        rest: RestOptions { ca_pem, proxies: proxies(), ..RestOptions::default() },
        retry: Some((RetryPolicy::default(), Arc::new(SystemClock::new()))),
        rate: None,
    };
    Ok(store::open_location(location, &options)?)
}

/// Where commands without an agent keep their state: as given, or in the user's state folder.
pub(crate) fn state_folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(state) = given {
        return Ok(state.to_owned());
    }
    let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    home.map(|home| home.join("packmule")).ok_or_else(|| {
        Failure::new(
            ErrorKind::Invalid,
            "there is no home folder to keep state in: give --state DIR",
        )
    })
}

/// A repository on the command line.
#[derive(Args, Debug, Clone)]
pub(crate) struct RepoOptions {
    /// Where the repository is: a folder, or rest:https://user:token@host:port/path/. Give one with a
    /// token through PACKMULE_REPOSITORY: everybody on this machine can see command lines
    // Its value may hold a token, which is nothing for a help text.
    #[arg(
        short = 'r',
        long,
        env = "PACKMULE_REPOSITORY",
        hide_env_values = true,
        value_name = "LOCATION"
    )]
    pub(crate) repo: String,
    /// Certificate authority to trust for rest: locations, a PEM file
    #[arg(long, env = "PACKMULE_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) password: PasswordOptions,
}

/// Where a password comes from.
#[derive(Args, Debug, Clone)]
pub(crate) struct PasswordOptions {
    /// File whose first line is the repository's password [default: systemd's credential packmule-password, else
    /// PACKMULE_PASSWORD, else asked for]
    #[arg(long, env = "PACKMULE_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

impl PasswordOptions {
    /// The password: from the file, the environment, or the terminal.
    ///
    /// # Errors
    /// When none can be had, or it is empty.
    pub(crate) fn read(&self, context: &Context, new: bool) -> Result<Zeroizing<String>, Failure> {
        let file = self.password_file.clone().or_else(credential);
        let password = match (&file, std::env::var("PACKMULE_PASSWORD")) {
            (Some(path), _) => {
                let text =
                    std::fs::read_to_string(path).map_err(|e| Failure::io("reading", path, e))?;
                let text = Zeroizing::new(text);
                Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
            }
            (None, Ok(password)) => Zeroizing::new(password),
            (None, Err(_)) => ask(context, new)?,
        };
        if password.is_empty() {
            return Err(Failure::new(ErrorKind::Invalid, "the password is empty"));
        }
        // From paper it comes in any case, and with blanks.
        let typed = RecoveryCode::typed(&password);
        let typed = typed.map_err(|slip| Failure::new(ErrorKind::Invalid, slip.to_string()))?;
        Ok(typed.map_or(password, |code| code.text()))
    }

    /// The password where nobody has to be asked for it; none where somebody has.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn kept(&self, context: &Context) -> Result<Option<Zeroizing<String>>, Failure> {
        let is_kept = self.password_file.is_some()
            || credential().is_some()
            || std::env::var_os("PACKMULE_PASSWORD").is_some();
        is_kept.then(|| self.read(context, false)).transpose()
    }

    /// A passphrase that is to be: from the file, or the terminal.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_new(
        context: &Context,
        file: Option<&Path>,
    ) -> Result<Zeroizing<String>, Failure> {
        let Some(path) = file else {
            context.printer.note("the new passphrase:");
            return ask(context, true);
        };
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io("reading", path, e))?;
        let text = Zeroizing::new(text);
        Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    }
}

/// The proxies of this process; none while nobody has named any.
static PROXIES: RwLock<Option<Named>> = RwLock::new(None);

struct Named {
    proxies: Proxies,
    /// Then settings have no say.
    by_environment: bool,
}

/// The proxies of this process: as the environment has them, or where it has none, as the settings do.
pub(crate) fn proxies() -> Proxies {
    let named = PROXIES.read().unwrap_or_else(PoisonError::into_inner);
    named.as_ref().map(|named| named.proxies.clone()).unwrap_or_default()
}

/// Whether it is settled which proxies there are.
pub(crate) fn has_proxies() -> bool {
    PROXIES.read().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Uses these from now on, where the environment names none.
pub(crate) fn use_proxies(proxies: Proxies) {
    let mut named = PROXIES.write().unwrap_or_else(PoisonError::into_inner);
    if named.as_ref().is_none_or(|named| !named.by_environment) {
        *named = Some(Named { proxies, by_environment: false });
    }
}

fn set_proxies() -> Result<(), Failure> {
    let named = |upper: &str| {
        let value = std::env::var(upper).or_else(|_| std::env::var(upper.to_ascii_lowercase()));
        value.ok().filter(|value| !value.trim().is_empty())
    };
    let [https, all, no] = ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].map(named);
    // In capitals a web server may set it for what it runs, from a request's header.
    let http =
        std::env::var("http_proxy").ok().or_else(|| match std::env::var_os("REQUEST_METHOD") {
            None => named("HTTP_PROXY"),
            Some(_) => None,
        });
    let found = ProxySettings {
        https: https.as_deref(),
        http: http.as_deref(),
        all: all.as_deref(),
        no: no.as_deref(),
    };
    if https.is_none() && http.is_none() && all.is_none() {
        return Ok(());
    }
    let proxies =
        Proxies::new(found).map_err(|wrong| Failure::new(ErrorKind::Invalid, wrong.to_string()))?;
    *PROXIES.write().unwrap_or_else(PoisonError::into_inner) =
        Some(Named { proxies, by_environment: true });
    Ok(())
}

/// What systemd keeps for this service, and shows to nobody else.
fn credential() -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)?;
    Some(folder.join("packmule-password")).filter(|path| path.exists())
}

fn ask(context: &Context, new: bool) -> Result<Zeroizing<String>, Failure> {
    let terminal = context.terminal();
    if context.printer.is_json() || !terminal.is_there() {
        let words = "no password: set PACKMULE_PASSWORD, or give --password-file FILE";
        return Err(Failure::new(ErrorKind::Invalid, words));
    }
    let prompt = |text: &str| terminal.secret("password-file FILE", text);
    let password = prompt("password")?;
    if new && *prompt("the same again")? != *password {
        return Err(Failure::new(ErrorKind::Invalid, "the two passwords differ"));
    }
    Ok(password)
}

fn author() -> Author {
    let uid = rustix::process::geteuid().as_raw();
    let name = uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned());
    Author {
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        username: name.unwrap_or_default(),
        uid,
        gid: rustix::process::getegid().as_raw(),
        pid: std::process::id(),
    }
}

/// Deep trees and many drives want many files open; the hard limit is the administrator's word.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
