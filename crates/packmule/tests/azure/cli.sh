#!/bin/bash
# The Azure CLI against the server. Arguments: the administrator's file, and a folder to work in. `az` is on PATH.
set -euo pipefail
admin=$1 work=$2
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$admin" "$1"; }
endpoint=$(field endpoint) tenant=$(field tenantId) client=$(field clientId) subscription=$(field subscriptionId)
export AZURE_CONFIG_DIR=$work/config REQUESTS_CA_BUNDLE AZURE_CORE_INSTANCE_DISCOVERY=false
export AZURE_CORE_COLLECT_TELEMETRY=no AZURE_CORE_ONLY_SHOW_ERRORS=yes AZURE_EXTENSION_USE_DYNAMIC_INSTALL=no
REQUESTS_CA_BUNDLE=$(field caFile)
CURL_CA_BUNDLE=$REQUESTS_CA_BUNDLE
export CURL_CA_BUNDLE
is() { [ "$1" = "$2" ] || { echo "expected '$2', got '$1'" >&2; exit 1; }; }

az cloud register -n SelfHosted --endpoint-resource-manager "$endpoint"
az cloud set -n SelfHosted
az login --service-principal -u "$client" --certificate "$(field certificateFile)" --tenant "$tenant" -o none
is "$(az account show --query id -o tsv)" "$subscription"

az group create -n Rg1 -l "West US" -o none
is "$(az group exists -n rg1)" true
is "$(az group list --query "[?name=='Rg1'].location" -o tsv)" westus
az group create -n empty -l westus -o none
az group delete -n empty -y
is "$(az group exists -n empty)" false

base=/subscriptions/$subscription/resourceGroups/rg1/providers
account=$base/Microsoft.Storage/storageAccounts/seedacct
az rest -m put -u "$account?api-version=2023-05-01" -b '{"location":"westus","sku":{"name":"Standard_LRS"},"kind":"StorageV2"}' -o none
is "$(az storage account show -n seedacct -g rg1 --query provisioningState -o tsv)" Succeeded
is "$(az storage account list -g rg1 --query '[].name' -o tsv)" seedacct
az backup vault create -n vault1 -g rg1 -l westus -o none
is "$(az backup vault list -g rg1 --query '[].name' -o tsv)" vault1
az backup vault create -n vault2 -g rg1 -l westus -o none
az backup vault delete -n vault2 -g rg1 -y
is "$(az backup vault list --query '[].name' -o tsv)" vault1
is "$(az resource list -g rg1 --query 'length(@)' -o tsv)" 2

job=$base/Microsoft.ImportExport/jobs/job1
cat >"$work/job.json" <<JSON
{"location": "westus", "tags": {"host": "fs01"}, "properties": {"storageAccountId": "$account", "jobType": "Import",
 "returnAddress": {"recipientName": "Ops", "streetAddress1": "1 Main St", "city": "Oslo", "postalCode": "0150",
  "countryOrRegion": "NO", "phone": "4722000000", "email": "ops@example.com"},
 "returnShipping": {"carrierName": "FedEx", "carrierAccountNumber": "123"},
 "driveList": [{"driveId": "D1", "bitLockerKey": "111111-222222", "manifestFile": "\\\\a", "manifestHash": "", "driveHeaderHash": ""}]}}
JSON
for version in 2016-11-01 2020-08-01 2021-01-01; do
    az rest -m put -u "$job?api-version=$version" -b "@$work/job.json" -o none
    is "$(az rest -m get -u "$job?api-version=$version" --query properties.state -o tsv)" Creating
done
! az rest -m get -u "$job?api-version=2019-01-01" 2>"$work/err" || exit 1
grep -q InvalidApiVersionParameter "$work/err"
is "$(az rest -m post -u "$job/listBitLockerKeys?api-version=2021-01-01" --query 'value[0].bitLockerKey' -o tsv)" 111111-222222
az rest -m patch -u "$job?api-version=2021-01-01" -o none -b \
    '{"properties": {"state": "Shipping", "deliveryPackage": {"carrierName": "FedEx", "trackingNumber": "AZ-1234"}}}'
is "$(az rest -m get -u "/subscriptions/{subscriptionId}/providers/Microsoft.ImportExport/jobs?api-version=2021-01-01" \
    --query 'value[0].properties.state' -o tsv)" Shipping

openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/one.key" -out "$work/one.crt" -days 30 -subj /CN=one 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/two.key" -out "$work/two.crt" -days 30 -subj /CN=two 2>/dev/null
az ad app create --display-name other -o none
az ad app create --display-name app1 >"$work/app.json"
app=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["appId"])' "$work/app.json")
is "$(az ad app list --display-name app1 --query '[0].appId' -o tsv)" "$app"
is "$(az ad app show --id "$app" --query displayName -o tsv)" app1
az ad app credential reset --id "$app" --cert "@$work/one.crt" --append -o none
az ad app credential reset --id "$app" --cert "@$work/two.crt" --append -o none
is "$(az ad app credential list --id "$app" --cert --query 'length(@)' -o tsv)" 2
secret=$(az ad app credential reset --id "$app" --append --query password -o tsv)
az ad sp create --id "$app" -o none
object=$(az ad sp show --id "$app" --query id -o tsv)
az role assignment create --role Reader --assignee-object-id "$object" --assignee-principal-type ServicePrincipal \
    --scope "/subscriptions/$subscription/resourceGroups/rg1" -o none
is "$(az role assignment list --assignee "$object" --scope "/subscriptions/$subscription/resourceGroups/rg1" --query '[].roleDefinitionName' -o tsv)" Reader

for how in "$work/one" "$work/two" secret; do
    case $how in
        secret) az login --service-principal -u "$app" -p "$secret" --tenant "$tenant" -o none ;;
        *) cat "$how.key" "$how.crt" >"$how.pem"
           az login --service-principal -u "$app" --certificate "$how.pem" --tenant "$tenant" -o none ;;
    esac
    is "$(az rest -m get -u "$job?api-version=2021-01-01" --query name -o tsv)" job1
    ! az group create -n mine -l westus 2>"$work/err" || exit 1
    grep -q AuthorizationFailed "$work/err"
    az logout --username "$app"
done
echo "the Azure CLI is content"
