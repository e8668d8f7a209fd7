//! The network of a guest: one port of the host, for any number of connections, and nothing else.

use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use anyhow::ensure;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const BODY: &str = "hello from the host";

/// At once.
const CONNECTIONS: usize = 3;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let allowed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = allowed.local_addr()?.port();
    // It ends with the program.
    std::thread::spawn(move || {
        allowed.incoming().flatten().for_each(|stream| {
            std::thread::spawn(move || answer(stream));
        });
    });
    let mut machine = lab.boot(Spec::new().reaches(port))?;
    let fetch = format!("wget -q -O - http://{}/", Machine::server(port));
    let jobs: Vec<_> =
        (0..CONNECTIONS).map(|_| machine.begin(&fetch)).collect::<anyhow::Result<_>>()?;
    for job in jobs {
        let said = machine.wait(&job)?;
        ensure!(said.code == 0 && said.text() == BODY, "{said:?}");
    }
    // QEMU's address for all of the host, when nothing is restricted.
    let elsewhere = other.local_addr()?.port();
    for address in ["10.0.2.2", "10.0.2.100"] {
        let said = machine.run(&format!("nc -w 5 {address} {elsewhere} </dev/null"))?;
        ensure!(said.code != 0, "{address}:{elsewhere} can be reached");
    }
    other.set_nonblocking(true)?;
    ensure!(other.accept().is_err(), "the guest has reached another port of the host");
    machine.power_off()
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = [0; 4096];
    // The request of a wget without headers of its own comes in one piece, and is not looked at.
    let _ = stream.read(&mut asked)?;
    let length = BODY.len();
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}")
}
