"""The cloud administrator's part of a seed's journey, by Azure's own clients. Arguments: the administrator's file
and a step: make; look JOB STATE DRIVE_STATE; seeding PARAMS KEY JOB, as the application that the certificate
utility has made."""

import json
import os
import sys
import xml.etree.ElementTree as ET

from azure.identity import CertificateCredential
from azure.mgmt.recoveryservices import RecoveryServicesClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.mgmt.storageimportexport import StorageImportExport
from msrest.authentication import Authentication

admin = json.load(open(sys.argv[1]))
BASE, TENANT, SUB, CA = admin["endpoint"], admin["tenantId"], admin["subscriptionId"], admin["caFile"]
os.environ["REQUESTS_CA_BUNDLE"] = os.environ["CURL_CA_BUNDLE"] = CA
ARM = "https://management.azure.com/.default"


def credential(client, pem):
    return CertificateCredential(TENANT, client, pem, authority=BASE, disable_instance_discovery=True, connection_verify=CA)


class Adapter(Authentication):
    def __init__(self, credential):
        self.credential = credential

    def signed_session(self, session=None):
        session = super().signed_session(session)
        session.headers["Authorization"] = "Bearer " + self.credential.get_token(ARM).token
        return session


def import_export(credential):
    client = StorageImportExport(Adapter(credential), SUB, base_url=BASE)
    client.config.connection.verify = CA
    return client


def make():
    own = credential(admin["clientId"], admin["certificateFile"])
    options = dict(base_url=BASE, credential_scopes=[ARM], connection_verify=CA)
    ResourceManagementClient(own, SUB, **options).resource_groups.create_or_update("branch", {"location": "westus"})
    storage = StorageManagementClient(own, SUB, **options)
    storage.storage_accounts.begin_create(
        "branch", "seedacct", {"location": "westus", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    ).result()
    vaults = RecoveryServicesClient(own, SUB, **options)
    vaults.vaults.begin_create_or_update(
        "branch", "offices", {"location": "westus", "sku": {"name": "RS0", "tier": "Standard"}, "properties": {}}
    ).result()


def look(name, state, drive_state):
    client = import_export(credential(admin["clientId"], admin["certificateFile"]))
    [listed] = [job for job in client.jobs.list_by_subscription() if job.name == name]
    group = listed.id.split("/")[4]
    job = client.jobs.get(name, group)
    drives = [drive.state for drive in job.properties.drive_list]
    assert job.properties.state == state and set(drives) == {drive_state}, (job.properties.state, drives)
    assert job.properties.shipping_information.recipient_name == "Import Dock", job.properties.shipping_information
    assert job.properties.storage_account_id.endswith("/resourceGroups/branch/providers/Microsoft.Storage/storageAccounts/seedacct")
    assert all(len(drive.manifest_hash) == 64 for drive in job.properties.drive_list)


def seeding(params, key, name):
    root = ET.parse(params).getroot()
    text = lambda tag: root.findtext("{urn:packmule:files:1}" + tag)
    assert text("SubscriptionId") == SUB and text("StorageAccountId").endswith("/seedacct"), ET.tostring(root)
    client = import_export(credential(text("ClientId"), key))
    assert name in [job.name for job in client.jobs.list_by_subscription()]


step, *arguments = sys.argv[2:]
{"make": make, "look": look, "seeding": seeding}[step](*arguments)
print(f"{step}: content")
