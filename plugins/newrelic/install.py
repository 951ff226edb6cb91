"""Installs the dashboard and the alert conditions through NerdGraph, New Relic's GraphQL interface.

What is there already is found by its name in the account: NerdGraph gives the ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.api import Asset, JsonApi, VendorError

FOLDER = Path(__file__).parent / "dashboards"
_SEARCH = """query($search: String!) {
  actor { entitySearch(query: $search) { results { entities { guid name accountId } } } } }"""
_CREATE = """mutation($account: Int!, $dashboard: DashboardInput!) {
  dashboardCreate(accountId: $account, dashboard: $dashboard) { entityResult { guid } errors { type description } } }"""
_UPDATE = """mutation($guid: EntityGuid!, $dashboard: DashboardInput!) {
  dashboardUpdate(guid: $guid, dashboard: $dashboard) { entityResult { guid } errors { type description } } }"""
_POLICIES = """query($account: Int!, $name: String!) { actor { account(id: $account) { alerts {
  policiesSearch(searchCriteria: {name: $name}) { policies { id name } } } } } }"""
_POLICY = """mutation($account: Int!, $policy: AlertsPolicyInput!) {
  alertsPolicyCreate(accountId: $account, policy: $policy) { id } }"""
_CONDITIONS = """query($account: Int!, $name: String!, $policy: ID!) { actor { account(id: $account) { alerts {
  nrqlConditionsSearch(searchCriteria: {name: $name, policyId: $policy}) { nrqlConditions { id name } } } } } }"""
_CONDITION = """mutation($account: Int!, $policy: ID!, $condition: AlertsNrqlConditionStaticInput!) {
  alertsNrqlConditionStaticCreate(accountId: $account, policyId: $policy, condition: $condition) { id } }"""
_CHANGE = """mutation($account: Int!, $id: ID!, $condition: AlertsNrqlConditionStaticInput!) {
  alertsNrqlConditionStaticUpdate(accountId: $account, id: $id, condition: $condition) { id } }"""


class NewRelicDashboards:
    """The assets of this folder in one account, with a user key, which stands in one header and nowhere else."""

    vendor = "newrelic"

    def __init__(self, url: str, account_id: str, user_key: str, timeout: float, ca_file: Path | None) -> None:
        self._account, self._key = account_id, user_key
        self._api = JsonApi(url, {"API-Key": user_key}, timeout, ca_file)

    @property
    def where(self) -> str:
        return f"{self._api.url}/graphql, account {self._account or 'not set'}"

    def assets(self) -> Sequence[Asset]:
        overview, alerts = FOLDER / "overview.json", FOLDER / "alerts.json"
        dashboard = json.loads(overview.read_text(encoding="utf-8"))
        for page in dashboard["pages"]:
            for widget in page["widgets"]:
                for query in widget["rawConfiguration"]["nrqlQueries"]:
                    query["accountIds"] = [int(self._account or 0)]
        found = [Asset("dashboard", dashboard["name"], dashboard["name"], overview, dashboard)]
        policy = json.loads(alerts.read_text(encoding="utf-8"))
        found.append(
            Asset("alert policy", policy["policy"]["name"], policy["policy"]["name"], alerts, policy["policy"])
        )
        return found + [
            Asset("alert condition", condition["name"], condition["name"], alerts, condition)
            for condition in policy["conditions"]
        ]

    def find(self, asset: Asset) -> str | None:
        if asset.kind == "dashboard":
            search = f"accountId = {self._number} AND type = 'DASHBOARD' AND name = '{asset.key}'"
            entities = self._asked(_SEARCH, search=search)["actor"]["entitySearch"]["results"]["entities"]
            mine = [one for one in entities if (one["name"], one["accountId"]) == (asset.key, self._number)]
            return str(mine[0]["guid"]) if mine else None
        if asset.kind == "alert policy":
            return self._policy(asset.key)
        policy = self._policy(self._policy_name())
        if policy is None:
            return None
        alerts = self._asked(_CONDITIONS, account=self._number, name=asset.key, policy=policy)["actor"]["account"][
            "alerts"
        ]
        return next((str(one["id"]) for one in alerts["nrqlConditionsSearch"]["nrqlConditions"]), None)

    def put(self, asset: Asset, found: str | None) -> str:
        if asset.kind == "dashboard":
            return self._put_dashboard(asset, found)
        if asset.kind == "alert policy":
            # A policy says only how incidents are grouped; if it is there, that is for people to change.
            return found or str(
                self._asked(_POLICY, account=self._number, policy=asset.body)["alertsPolicyCreate"]["id"]
            )
        if found is not None:
            self._asked(_CHANGE, account=self._number, id=found, condition=asset.body)
            return found
        policy = self._policy(self._policy_name())
        made = self._asked(_CONDITION, account=self._number, policy=policy, condition=asset.body)
        return str(made["alertsNrqlConditionStaticCreate"]["id"])

    def close(self) -> None:
        self._api.close()

    @property
    def _number(self) -> int:
        if not self._account:
            raise VendorError("account_id is missing: write the account's number into [plugins.newrelic]")
        return int(self._account)

    def _put_dashboard(self, asset: Asset, found: str | None) -> str:
        if found is None:
            result = self._asked(_CREATE, account=self._number, dashboard=asset.body)["dashboardCreate"]
        else:
            result = self._asked(_UPDATE, guid=found, dashboard=asset.body)["dashboardUpdate"]
        if result["errors"]:
            raise VendorError("; ".join(f"{error['type']}: {error['description']}" for error in result["errors"]))
        return str(result["entityResult"]["guid"])

    @staticmethod
    def _policy_name() -> str:
        return str(json.loads((FOLDER / "alerts.json").read_text(encoding="utf-8"))["policy"]["name"])

    def _policy(self, name: str) -> str | None:
        alerts = self._asked(_POLICIES, account=self._number, name=name)["actor"]["account"]["alerts"]
        return next((str(one["id"]) for one in alerts["policiesSearch"]["policies"] if one["name"] == name), None)

    def _asked(self, query: str, **variables: object) -> dict[str, Any]:
        """The data of an answer. GraphQL tells errors with status 200."""
        if not self._key:
            mend = 'write user_key = "${env:NEW_RELIC_API_KEY}" into [plugins.newrelic]; user keys begin with NRAK-'
            raise VendorError(f"user_key is missing: {mend}")
        answer = self._api.call("POST", "/graphql", {"query": query, "variables": variables})
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors or not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            told = "; ".join(str(error.get("message")) for error in errors or ()) or "no data came"
            raise VendorError(f"NerdGraph: {told[:500]}")
        data: dict[str, Any] = answer["data"]
        return data
