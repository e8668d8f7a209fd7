"""Azure's own Python clients against the server: what they send is theirs, what they get must satisfy them.

Arguments: the administrator's file. Ends with an assertion where something is not as it should be.
"""

import json
import os
import sys
import uuid

import adal
import msal
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import CertificateCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.recoveryservices import RecoveryServicesClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.mgmt.storageimportexport import StorageImportExport
from azure.mgmt.storageimportexport import models as m
from msrest.authentication import Authentication

admin = json.load(open(sys.argv[1]))
BASE, TENANT, SUB = admin["endpoint"], admin["tenantId"], admin["subscriptionId"]
CLIENT, CA, PEM = admin["clientId"], admin["caFile"], admin["certificateFile"]
# Some of the clients believe these before what they are told.
os.environ["REQUESTS_CA_BUNDLE"] = os.environ["CURL_CA_BUNDLE"] = CA
ARM = "https://management.azure.com/.default"


def credential(**options):
    return CertificateCredential(
        TENANT, CLIENT, PEM, authority=BASE, disable_instance_discovery=True, connection_verify=CA, **options
    )


class Adapter(Authentication):
    """What msrest's clients want of a credential."""

    def __init__(self, credential):
        self.credential = credential

    def signed_session(self, session=None):
        session = super().signed_session(session)
        session.headers["Authorization"] = "Bearer " + self.credential.get_token(ARM).token
        return session


def refused(status, code, call):
    try:
        call()
    except HttpResponseError as error:
        assert error.status_code == status, (error.status_code, status, error)
        assert error.error.code == code, (error.error.code, code)
        return
    except m.ErrorResponseException as error:
        assert error.response.status_code == status, (error.response.status_code, status, error)
        assert error.error.code == code, (error.error.code, code)
        return
    raise AssertionError(f"{code} was expected")


def tokens():
    credential().get_token(ARM)
    credential(send_certificate_chain=True).get_token(ARM)
    pem = open(PEM).read()
    key = pem[pem.index("-----BEGIN PRIVATE KEY") : pem.index("-----BEGIN CERTIFICATE")]
    certificate = pem[pem.index("-----BEGIN CERTIFICATE") :]
    app = msal.ConfidentialClientApplication(
        CLIENT,
        authority=f"{BASE}/{TENANT}",
        client_credential={"private_key": key, "public_certificate": certificate},
        instance_discovery=False,
        verify=CA,
    )
    answer = app.acquire_token_for_client([ARM])
    assert "access_token" in answer, answer
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    thumbprint = x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA1()).hex()
    old = adal.AuthenticationContext(f"{BASE}/{TENANT}", validate_authority=False, verify_ssl=CA)
    answer = old.acquire_token_with_client_certificate("https://management.core.windows.net/", CLIENT, key, thumbprint)
    assert answer["accessToken"], answer
    try:
        CertificateCredential(
            TENANT, str(uuid.uuid4()), PEM, authority=BASE, disable_instance_discovery=True, connection_verify=CA
        ).get_token(ARM)
        raise AssertionError("an application that is not there got a token")
    except ClientAuthenticationError as error:
        assert "AADSTS700016" in str(error), error


def options():
    return dict(base_url=BASE, credential_scopes=[ARM], connection_verify=CA)


def resources():
    client = ResourceManagementClient(credential(), SUB, **options())
    group = client.resource_groups.create_or_update("Rg1", {"location": "West US", "tags": {"a": "b"}})
    assert (group.name, group.location, group.tags) == ("Rg1", "westus", {"a": "b"}), group
    assert client.resource_groups.check_existence("rg1")
    assert not client.resource_groups.check_existence("rg2")
    assert {g.name for g in client.resource_groups.list()} >= {"Rg1", "packmule"}
    try:
        client.resource_groups.get("rg2")
        raise AssertionError("a group that is not there")
    except ResourceNotFoundError as error:
        assert error.error.code == "ResourceGroupNotFound", error

    storage = StorageManagementClient(credential(), SUB, **options())
    made = storage.storage_accounts.begin_create(
        "rg1", "seedacct", {"location": "westus", "sku": {"name": "Standard_GRS"}, "kind": "StorageV2"}
    ).result()
    assert made.provisioning_state == "Succeeded" and made.sku.name == "Standard_GRS", made
    assert storage.storage_accounts.get_properties("RG1", "seedacct").id == made.id
    assert [a.name for a in storage.storage_accounts.list_by_resource_group("rg1")] == ["seedacct"]
    assert not storage.storage_accounts.check_name_availability({"name": "seedacct", "type": "Microsoft.Storage/storageAccounts"}).name_available

    vaults = RecoveryServicesClient(credential(), SUB, **options())
    vault = vaults.vaults.begin_create_or_update(
        "rg1",
        "vault1",
        {"location": "westus", "sku": {"name": "RS0", "tier": "Standard"}, "properties": {"publicNetworkAccess": "Enabled"}},
    ).result()
    assert vault.properties.provisioning_state == "Succeeded" and vault.sku.name == "RS0", vault
    assert vaults.vaults.get("rg1", "Vault1").id == vault.id
    assert [v.name for v in vaults.vaults.list_by_resource_group("rg1")] == ["vault1"]
    assert "vault1" in [v.name for v in vaults.vaults.list_by_subscription_id()]
    usages = {u.name.value: u.current_value for u in vaults.usages.list_by_vaults("rg1", "vault1")}
    assert usages["MABContainersCount"] == 0, usages
    vaults.vaults.begin_create_or_update("rg1", "vault2", {"location": "westus", "sku": {"name": "Standard"}, "properties": {}}).result()
    vaults.vaults.begin_delete("rg1", "vault2").result()
    assert [v.name for v in vaults.vaults.list_by_resource_group("rg1")] == ["vault1"]
    try:
        client.resource_groups.begin_delete("rg1").result()
        raise AssertionError("a group with resources was deleted")
    except HttpResponseError as error:
        assert error.status_code == 409, error
    return made.id


def import_export():
    client = StorageImportExport(Adapter(credential()), SUB, base_url=BASE)
    client.config.connection.verify = CA
    return client


ADDRESS = dict(
    recipient_name="Ops", street_address1="1 Main St", city="Oslo", postal_code="0150",
    country_or_region="NO", phone="4722000000", email="ops@example.com",
)


def job(account, *drives, **more):
    return m.PutJobParameters(
        location="West US",
        tags={"host": "fs01"},
        properties=m.JobDetails(
            storage_account_id=account,
            job_type="Import",
            return_address=m.ReturnAddress(**ADDRESS),
            return_shipping=m.ReturnShipping(carrier_name="FedEx", carrier_account_number="123"),
            diagnostics_path="waimportexport",
            log_level="Verbose",
            backup_drive_manifest=True,
            drive_list=[
                m.DriveStatus(
                    drive_id=drive,
                    bit_locker_key="111111-222222-333333-444444-555555-666666-777777-888888",
                    manifest_file="\\DriveManifest.xml",
                    manifest_hash="109B21108597EF36D5785F08303F3638",
                    drive_header_hash="",
                )
                for drive in drives
            ],
            **more,
        ),
    )


def package(number, count=1):
    return m.PackageInfomation(carrier_name="FedEx", tracking_number=number, drive_count=count, ship_date="2026-11-22")


def import_jobs(account):
    client = import_export()
    locations = client.locations.list()
    assert "West US" in [location.name for location in locations], locations
    one = client.locations.get("West US")
    assert one.id == client.locations.get("westus").id and one.supported_carriers == ["FedEx", "UPS"], one
    assert "Microsoft.ImportExport/jobs/write" in [o.name for o in client.operations.list()]

    made = client.jobs.create("job1", "rg1", job(account, "9CA995BB"))
    assert (made.name, made.location, made.tags) == ("job1", "West US", {"host": "fs01"}), made
    said = made.properties
    assert (said.state, said.job_type, said.provisioning_state) == ("Creating", "Import", "Succeeded"), said
    assert said.shipping_information.recipient_name == "Import Dock", said.shipping_information
    [drive] = said.drive_list
    assert (drive.drive_id, drive.state, drive.bit_locker_key) == ("9CA995BB", "Specified", None), drive
    assert (drive.manifest_hash, drive.manifest_file) == ("109B21108597EF36D5785F08303F3638", "\\DriveManifest.xml")
    [key] = client.bit_locker_keys.list("job1", "rg1")
    assert key.bit_locker_key.startswith("111111-2") and key.drive_id == "9CA995BB", key
    again = client.jobs.get("JOB1", "RG1")
    assert again.id == made.id and again.properties.drive_list[0].bit_locker_key is None
    [listed] = client.jobs.list_by_resource_group("rg1")
    assert listed.name == "job1" and listed.properties.drive_list is None, listed
    for number in range(3):
        client.jobs.create(f"more-{number}", "rg1", job(account, f"M{number}"))
    assert [j.name for j in client.jobs.list_by_subscription(top=2)] == ["job1", "more-0", "more-1", "more-2"]
    assert [j.name for j in client.jobs.list_by_subscription(filter="state eq 'Shipping'")] == []

    update = m.UpdateJobParameters
    refused(400, "ShippingDetailsMissing", lambda: client.jobs.update("job1", "rg1", update(state="Shipping")))
    client.jobs.update("job1", "rg1", update(delivery_package=package("1Z 999-aa1"), tags={"x": "y"}))
    refused(409, "TrackingNumberInUse", lambda: client.jobs.update("more-0", "rg1", update(delivery_package=package("1z999AA1"))))
    shipped = client.jobs.update("job1", "rg1", update(state="Shipping"))
    assert shipped.properties.state == "Shipping" and shipped.tags == {"x": "y"}, shipped.properties
    assert shipped.properties.delivery_package.tracking_number == "1Z999AA1"
    refused(409, "JobState", lambda: client.jobs.delete("job1", "rg1"))
    refused(409, "DriveInAnotherJob", lambda: client.jobs.create("other", "rg1", job(account, "9CA995BB")))
    refused(400, "InvalidRequestContent", lambda: client.jobs.create("none", "rg1", job(account)))
    refused(400, "TooManyDrives", lambda: client.jobs.create("many", "rg1", job(account, *[f"D{n}" for n in range(11)])))
    refused(400, "StorageAccountNotFound", lambda: client.jobs.create("no", "rg1", job(account + "x", "Z1")))
    refused(404, "ResourceGroupNotFound", lambda: client.jobs.create("no", "rg9", job(account, "Z1")))
    refused(404, "ResourceNotFound", lambda: client.jobs.get("nothing", "rg1"))

    cancelled = client.jobs.update("more-1", "rg1", update(cancel_requested=True))
    assert cancelled.properties.cancel_requested, cancelled.properties
    client.jobs.delete("more-1", "rg1")
    refused(404, "ResourceNotFound", lambda: client.jobs.get("more-1", "rg1"))
    export = client.jobs.create(
        "export-1",
        "rg1",
        m.PutJobParameters(
            location="westus",
            properties=m.JobDetails(
                storage_account_id=account, job_type="Export", return_address=m.ReturnAddress(**ADDRESS),
                return_shipping=m.ReturnShipping(carrier_name="FedEx", carrier_account_number="123"),
                export=m.Export(blob_path=["seeds/a"], blob_path_prefix=["seeds/b"]),
            ),
        ),
    )
    assert export.properties.export.blob_path == ["seeds/a"] and export.properties.drive_list is None, export.properties


def grants():
    client = AuthorizationManagementClient(credential(), SUB, **options())
    scope = f"/subscriptions/{SUB}"
    roles = {r.role_name: r.id for r in client.role_definitions.list(scope)}
    assert set(roles) == {"Owner", "Contributor", "Reader"}, roles
    assert [r.role_name for r in client.role_definitions.list(scope, filter="roleName eq 'Reader'")] == ["Reader"]
    [own] = client.role_assignments.list_for_scope("/")
    made = client.role_assignments.create(
        scope, str(uuid.uuid4()), {"role_definition_id": roles["Reader"], "principal_id": own.principal_id, "principal_type": "ServicePrincipal"}
    )
    assert made.scope == scope, made
    assert len(list(client.role_assignments.list_for_scope(scope))) == 2
    client.role_assignments.delete(scope, made.name)
    assert len(list(client.role_assignments.list_for_scope(scope))) == 1


tokens()
account = resources()
import_jobs(account)
grants()
print("all clients are content")
