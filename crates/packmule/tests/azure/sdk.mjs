// Azure's JavaScript clients against the server. Arguments: the administrator's file, and a storage account's id.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [, , file, modules, account] = process.argv;
const require = createRequire(modules + "/");
const { StorageImportExport } = require("@azure/arm-storageimportexport");
const { ClientCertificateCredential } = require("@azure/identity");

const admin = JSON.parse(readFileSync(file, "utf8"));
const credential = new ClientCertificateCredential(
  admin.tenantId,
  admin.clientId,
  { certificatePath: admin.certificateFile },
  { authorityHost: admin.endpoint, disableInstanceDiscovery: true },
);
const client = new StorageImportExport(credential, admin.subscriptionId, {
  endpoint: admin.endpoint,
  credentialScopes: ["https://management.azure.com/.default"],
});

const all = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const refused = async (code, promise) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.code, code, error.message);
    return true;
  });

const locations = await all(client.locations.list());
assert.equal(locations[0].name, "West US");
assert.ok((await all(client.operations.list())).length > 4);
const body = {
  location: "westus",
  properties: {
    storageAccountId: account,
    jobType: "Import",
    returnAddress: {
      recipientName: "Ops", streetAddress1: "1 Main St", city: "Oslo", postalCode: "0150",
      countryOrRegion: "NO", phone: "4722000000", email: "ops@example.com",
    },
    driveList: [{ driveId: "JS1", bitLockerKey: "111111-222222", manifestFile: "\\a", manifestHash: "", driveHeaderHash: "" }],
  },
};
const made = await client.jobs.create("js-job", "rg1", body);
assert.equal(made.properties.state, "Creating");
assert.equal(made.properties.encryptionKey.kekType, "MicrosoftManaged");
assert.equal(made.properties.driveList[0].bitLockerKey, undefined);
assert.deepEqual((await all(client.bitLockerKeys.list("js-job", "rg1"))).map((key) => key.bitLockerKey), ["111111-222222"]);
await refused("ShippingDetailsMissing", client.jobs.update("js-job", "rg1", { state: "Shipping" }));
const shipped = await client.jobs.update("js-job", "rg1", {
  state: "Shipping",
  deliveryPackage: { carrierName: "FedEx", trackingNumber: "JS-0001", driveCount: 1, shipDate: "2026-11-22" },
});
assert.equal(shipped.properties.state, "Shipping");
assert.ok((await all(client.jobs.listByResourceGroup("rg1"))).some((job) => job.name === "js-job"));
await refused("ResourceNotFound", client.jobs.get("nothing", "rg1"));
console.log("all clients are content");
