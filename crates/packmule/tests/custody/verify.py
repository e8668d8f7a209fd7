"""Verifies a custody log by docs/format.md alone: no code of Packmule's, and nothing but the standard library.

usage: verify.py LOG KEY=NAME...    (public keys in hexadecimal digits)
Prints what is proven as JSON, or the first line that does not hold, and exits with 1 then.
"""

import hashlib
import json
import sys

# Ed25519 by RFC 8032, section 5.1, the slow and obvious way.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P:
        return None
    return P - x if x & 1 != sign else x


def add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    p, q = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    r, s = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = q - p, s - r, s + r, q + p
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, point)
        point = add(point, point)
        n >>= 1
    return result


def point(octets):
    y = int.from_bytes(octets, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = recover(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(key, message, signature):
    key, signature = bytes.fromhex(key), bytes.fromhex(signature)
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = hashlib.sha512(signature[:32] + key + message).digest()
    left, right = times(s, BASE), add(r, times(int.from_bytes(h, "little") % L, a))
    same = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same and (left[1] * right[2] - right[1] * left[2]) % P == 0


def text(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(octets):
    return hashlib.sha256(octets).hexdigest()


class Broken(Exception):
    pass


def need(what, why):
    if not what:
        raise Broken(why)


def members(value, *names):
    need(list(value) == list(names), f"members {list(value)}")


ZERO = "0" * 64


def first(line, trusted):
    front = json.loads(line)
    members(front, "custody", "seed", "count", "last", "time", "receipt", "key", "signature")
    need(text(front) == line and front["custody"] == 1, "not in its form")
    need(trusted.get(front["key"], "").startswith("server"), "not a trusted server")
    receipt = front["receipt"]
    said = {name: front[name] for name in ("custody", "seed", "count", "last", "time")}
    said["receipt"] = None if receipt is None else sha256(text(receipt))
    message = b"packmule custody log v1\n" + text(said)
    need(signed(front["key"], message, front["signature"]), "signature")
    heads = []
    if receipt is not None:
        members(receipt, "receipt", "publicKey", "signature")
        need(receipt["publicKey"] == front["key"], "receipt of another server")
        message = b"packmule receipt v1\n" + receipt["receipt"].encode()
        need(signed(receipt["publicKey"], message, receipt["signature"]), "receipt")
        said = json.loads(receipt["receipt"])
        need(said["seed"] == front["seed"], "receipt of another seed")
        heads = said.get("custody", [])
    return front, heads


def entry_of(line, front, trusted, chains, order, before):
    logged = json.loads(line)
    need(text(logged) == line, "not in its form")
    members(logged, "entry", "signature", "taken")
    entry, taken = logged["entry"], logged["taken"]
    members(entry, "version", "seed", "actor", "number", "time", "event", "previous")
    members(entry["actor"], "kind", "name", "key")
    members(taken, "order", "time", "before", "key", "signature")
    actor = entry["actor"]
    name = f"{actor['kind']}/{actor['name']}"
    need(trusted.get(actor["key"]) == name, f"{name} is not trusted with that key")
    need(entry["version"] == 1 and entry["seed"] == front["seed"], "version or seed")
    message = b"packmule custody entry v1\n" + text(entry)
    need(signed(actor["key"], message, logged["signature"]), "signature")
    link = b"packmule custody link v1\n" + text(entry) + bytes.fromhex(logged["signature"])
    link = sha256(link)
    need(taken["key"] == front["key"], "another server")
    said = {"entry": link, "order": taken["order"], "time": taken["time"], "before": taken["before"]}
    message = b"packmule custody taken v1\n" + text(said)
    need(signed(taken["key"], message, taken["signature"]), "countersignature")
    need((actor["kind"] == "server") == (actor["key"] == front["key"]), "the server's key")
    need(taken["order"] == order and taken["before"] == before, "out of its place")
    chain = chains.setdefault(name, [])
    need(entry["number"] == len(chain), "number")
    need(entry["previous"] == (chain[-1] if chain else ZERO), "previous")
    chain.append(link)
    return entry


def main():
    trusted = dict(word.split("=", 1) for word in sys.argv[2:])
    octets = open(sys.argv[1], "rb").read()
    number, chains, events = 1, {}, []
    try:
        need(octets.endswith(b"\n"), "cut off")
        lines = octets[:-1].split(b"\n")
        front, heads = first(lines[0], trusted)
        before = ZERO
        for order, line in enumerate(lines[1:]):
            number = order + 2
            entry = entry_of(line, front, trusted, chains, order, before)
            events.append([f"{entry['actor']['kind']}/{entry['actor']['name']}", entry["event"]["what"]])
            before = sha256(line)
        need(front["count"] == len(events) and front["last"] == before, "the end")
        for head in heads:
            chain = chains.get(f"{head['kind']}/{head['name']}", [])
            need(len(chain) >= head["count"] >= 1, "a chain is cut off")
            need(chain[head["count"] - 1] == head["last"], "another chain")
        need(front["receipt"] is not None or not any(e[1] == "published" for e in events), "receipt")
    except (Broken, ValueError, KeyError, TypeError, AttributeError) as why:
        print(json.dumps({"line": number, "why": str(why)}))
        return 1
    covered = sum(head["count"] for head in heads)
    print(json.dumps({"entries": len(events), "events": events, "covered": covered}))
    return 0


sys.exit(main())
