"""What schemathesis cannot guess: which operations are the caller's, and names of things that are there. Half
of all requests get those, chosen by what is in the request, so that a run is repeated exactly."""

import os
import zlib

import schemathesis

ROLE = os.environ["JUDGE_ROLE"]

SEGMENTS = {
    "vault": "vault1",
    "server": "fs01",
    "account": "seedacct",
    "job": os.environ["JUDGE_JOB"],
    "drive": os.environ["JUDGE_DRIVE"],
}

FIELDS = {
    "vault": "vault1",
    "server": "fs01",
    "storageAccount": "seedacct",
    "trackingNumber": os.environ["JUDGE_PARCEL"],
    "driveHeaderHash": "0a" * 32,
}

# Its groups are divisible by 11, which no pattern says.
PASSWORD = "-".join(["000011"] * 8)

RETURN_ADDRESS = {
    "recipientName": "Ops",
    "streetAddress1": "1 Main St",
    "city": "Oslo",
    "postalCode": "0150",
    "countryOrRegion": "NO",
    "phone": "4722000000",
    "email": "ops@example.org",
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Callers that an operation is not for are another test's matter."""
    for methods in raw_schema["paths"].values():
        for method in list(methods):
            callers = [caller["basic"][0] for caller in methods[method]["security"] if "basic" in caller]
            if callers and ROLE not in callers:
                del methods[method]


def put(values, known):
    if isinstance(values, dict):
        for name in set(values) & set(known):
            values[name] = known[name]


def make_fit(body):
    put(body, FIELDS)
    if not isinstance(body, dict):
        return
    if isinstance(body.get("returnAddress"), dict):
        body["returnAddress"] = RETURN_ADDRESS
    put(body.get("deliveryPackage"), FIELDS)
    if isinstance(body.get("seed"), dict):
        body["seed"].pop("sets", None)
    drives = body.get("driveList")
    for drive in drives if isinstance(drives, list) else []:
        if isinstance(drive, dict):
            drive.update(driveHeaderHash=FIELDS["driveHeaderHash"], bitLockerKey=PASSWORD)


@schemathesis.hook
def before_call(context, case, kwargs):
    parts = (case.operation.label, case.path_parameters, case.query, case.body)
    luck = zlib.crc32(repr(parts).encode())
    if luck % 2:
        put(case.path_parameters, SEGMENTS)
    if luck % 4 > 1:
        make_fit(case.body)
