"""New Relic's GraphQL interface, as far as something that installs dashboards and alert conditions goes.

The part of the schema that is published in
https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-dashboards/ and
https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-api-nrql-condition-alerts/, executed by graphql-core:
what is not in the schema, or of another type, is an error. The key is a user key (NRAK-...) in the header API-Key.
"""

import re
from typing import Any

from graphql import build_schema, graphql_sync

from tests.vendors.book import Violation
from tests.vendors.wire import Refusal, Reply, Request, as_json, clip, content_type, strict_json

USER_KEY = re.compile(r"NRAK-[0-9A-Z]{20,}")
SCHEMA = """
scalar EntityGuid
scalar DashboardWidgetRawConfiguration
scalar Seconds
enum DashboardPermissions { PRIVATE PUBLIC_READ_ONLY PUBLIC_READ_WRITE }
enum DashboardVariableType { ENUM NRQL STRING }
enum DashboardVariableReplacementStrategy { DEFAULT IDENTIFIER NUMBER STRING }
input DashboardVariableDefaultValueInput { string: String }
input DashboardVariableDefaultItemInput { value: DashboardVariableDefaultValueInput! }
input DashboardVariableEnumItemInput { title: String value: String! }
input DashboardVariableNrqlQueryInput { accountIds: [Int!]! query: String! }
input DashboardVariableOptionsInput { ignoreTimeRange: Boolean excluded: Boolean showApplyAction: Boolean }
input DashboardVariableInput {
  name: String! title: String type: DashboardVariableType! isMultiSelection: Boolean
  items: [DashboardVariableEnumItemInput!] nrqlQuery: DashboardVariableNrqlQueryInput
  replacementStrategy: DashboardVariableReplacementStrategy defaultValues: [DashboardVariableDefaultItemInput!]
  options: DashboardVariableOptionsInput
}
input DashboardWidgetNrqlQueryInput { accountId: Int accountIds: [Int!] query: String! }
input DashboardChartConfigurationInput { nrqlQueries: [DashboardWidgetNrqlQueryInput!] }
input DashboardMarkdownConfigurationInput { text: String! }
input DashboardWidgetConfigurationInput {
  area: DashboardChartConfigurationInput bar: DashboardChartConfigurationInput
  billboard: DashboardChartConfigurationInput line: DashboardChartConfigurationInput
  markdown: DashboardMarkdownConfigurationInput pie: DashboardChartConfigurationInput
  table: DashboardChartConfigurationInput
}
input DashboardWidgetVisualizationInput { id: String }
input DashboardWidgetLayoutInput { column: Int row: Int width: Int height: Int }
input DashboardWidgetInput {
  id: ID title: String layout: DashboardWidgetLayoutInput linkedEntityGuids: [EntityGuid!]
  configuration: DashboardWidgetConfigurationInput visualization: DashboardWidgetVisualizationInput
  rawConfiguration: DashboardWidgetRawConfiguration
}
input DashboardPageInput { guid: EntityGuid name: String! description: String widgets: [DashboardWidgetInput!]! }
input DashboardInput {
  name: String! description: String permissions: DashboardPermissions!
  pages: [DashboardPageInput!]! variables: [DashboardVariableInput!]
}
type DashboardEntityResult { guid: EntityGuid name: String accountId: Int }
type DashboardError { description: String type: String! }
type DashboardCreateResult { entityResult: DashboardEntityResult errors: [DashboardError!] }
type DashboardUpdateResult { entityResult: DashboardEntityResult errors: [DashboardError!] }
type DashboardDeleteResult { status: String errors: [DashboardError!] }

enum AlertsIncidentPreference { PER_CONDITION PER_CONDITION_AND_TARGET PER_POLICY }
enum AlertsNrqlConditionTermsOperator {
  ABOVE ABOVE_OR_EQUALS BELOW BELOW_OR_EQUALS EQUALS NOT_EQUALS
}
enum AlertsNrqlConditionPriority { CRITICAL WARNING }
enum AlertsNrqlConditionThresholdOccurrences { ALL AT_LEAST_ONCE }
enum AlertsFillOption { LAST_VALUE NONE STATIC }
enum AlertsSignalAggregationMethod { CADENCE EVENT_FLOW EVENT_TIMER }
input AlertsPolicyInput { name: String! incidentPreference: AlertsIncidentPreference! }
input AlertsNrqlConditionQueryInput { query: String! dataAccountId: Int }
input AlertsNrqlConditionTermsInput {
  threshold: Float! thresholdDuration: Seconds! operator: AlertsNrqlConditionTermsOperator!
  priority: AlertsNrqlConditionPriority! thresholdOccurrences: AlertsNrqlConditionThresholdOccurrences!
}
input AlertsNrqlConditionSignalInput {
  aggregationWindow: Seconds aggregationMethod: AlertsSignalAggregationMethod aggregationDelay: Seconds
  aggregationTimer: Seconds fillOption: AlertsFillOption fillValue: Float slideBy: Seconds evaluationDelay: Seconds
}
input AlertsNrqlConditionExpirationInput {
  expirationDuration: Seconds openViolationOnExpiration: Boolean closeViolationsOnExpiration: Boolean
}
input AlertsNrqlConditionStaticInput {
  name: String! description: String enabled: Boolean! nrql: AlertsNrqlConditionQueryInput!
  terms: [AlertsNrqlConditionTermsInput!]! signal: AlertsNrqlConditionSignalInput
  expiration: AlertsNrqlConditionExpirationInput runbookUrl: String violationTimeLimitSeconds: Seconds
}
type AlertsPolicy { id: ID! name: String! incidentPreference: AlertsIncidentPreference! accountId: Int! }
type AlertsNrqlStaticCondition { id: ID! name: String! policyId: ID! enabled: Boolean! }
type Mutation {
  dashboardCreate(accountId: Int!, dashboard: DashboardInput!): DashboardCreateResult
  dashboardUpdate(guid: EntityGuid!, dashboard: DashboardInput!): DashboardUpdateResult
  dashboardDelete(guid: EntityGuid!): DashboardDeleteResult
  alertsPolicyCreate(accountId: Int!, policy: AlertsPolicyInput!): AlertsPolicy
  alertsNrqlConditionStaticCreate(
    accountId: Int!, policyId: ID!, condition: AlertsNrqlConditionStaticInput!
  ): AlertsNrqlStaticCondition
  alertsNrqlConditionStaticUpdate(
    accountId: Int!, id: ID!, condition: AlertsNrqlConditionStaticInput!
  ): AlertsNrqlStaticCondition
}
type DashboardEntityOutline { guid: EntityGuid name: String accountId: Int entityType: String type: String }
type EntitySearchResult { entities: [DashboardEntityOutline!] nextCursor: String }
type EntitySearch { count: Int results(cursor: String): EntitySearchResult }
input AlertsPoliciesSearchCriteriaInput { name: String nameLike: String ids: [ID!] }
input AlertsNrqlConditionsSearchCriteriaInput { name: String nameLike: String policyId: ID }
type AlertsPoliciesSearchResultSet { policies: [AlertsPolicy!]! totalCount: Int! nextCursor: String }
type AlertsNrqlConditionsSearchResultSet {
  nrqlConditions: [AlertsNrqlStaticCondition!]! totalCount: Int! nextCursor: String
}
type Alerts {
  policiesSearch(searchCriteria: AlertsPoliciesSearchCriteriaInput, cursor: String): AlertsPoliciesSearchResultSet
  nrqlConditionsSearch(
    searchCriteria: AlertsNrqlConditionsSearchCriteriaInput, cursor: String
  ): AlertsNrqlConditionsSearchResultSet
}
type Account { id: Int alerts: Alerts }
type Actor { entitySearch(query: String): EntitySearch account(id: Int!): Account }
type Query { actor: Actor }
"""


class NerdGraph:
    """What was installed, and the schema over it. Not thread-safe."""

    def __init__(self) -> None:
        self._schema = build_schema(SCHEMA)
        self._dashboards: dict[str, dict[str, Any]] = {}
        self._policies: dict[str, dict[str, Any]] = {}
        self._conditions: dict[str, dict[str, Any]] = {}
        self._numbers = 0

    def listing(self) -> dict[str, Any]:
        """Copies of what was installed by kind and id."""
        return {
            "dashboards": dict(self._dashboards),
            "policies": dict(self._policies),
            "conditions": dict(self._conditions),
        }

    def answer(self, request: Request) -> Reply:
        """Execute a GraphQL request; errors in it come with status 200, as GraphQL has it, and are violations."""
        if request.method != "POST":
            raise Refusal(405, "method", f"{request.method} {request.path}")
        if not USER_KEY.fullmatch(request.headers.get("API-Key") or ""):
            raise Refusal(401, "api_key", "the header API-Key has no user key (NRAK-...)")
        if content_type(request) != "application/json":
            raise Refusal(415, "content_type", f"Content-Type {content_type(request)!r} is not application/json")
        value = strict_json(request.body)
        if not isinstance(value, dict) or not isinstance(value.get("query"), str):
            raise Refusal(400, "schema", "the body is no object with a text 'query'")
        root = {
            "actor": {"entitySearch": self._search, "account": self._account},
            "dashboardCreate": self._create,
            "dashboardUpdate": self._update,
            "dashboardDelete": self._delete,
            "alertsPolicyCreate": self._policy,
            "alertsNrqlConditionStaticCreate": self._condition,
            "alertsNrqlConditionStaticUpdate": self._change_condition,
        }
        result = graphql_sync(self._schema, value["query"], root, variable_values=value.get("variables"))
        found = [Violation("graphql", error.message) for error in result.errors or ()]
        return as_json(result.formatted, 200, violations=found)

    def _number(self) -> str:
        self._numbers += 1
        return str(self._numbers)

    def _create(self, _: Any, accountId: int, dashboard: dict[str, Any]) -> dict[str, Any]:
        _check(dashboard)
        guid = f"MXxWSVp8REFTSEJPQVJEfD{self._number():0>4}"
        self._dashboards[guid] = {**dashboard, "accountId": accountId}
        return {"entityResult": {"guid": guid, "name": dashboard["name"], "accountId": accountId}, "errors": None}

    def _update(self, _: Any, guid: str, dashboard: dict[str, Any]) -> dict[str, Any]:
        _check(dashboard)
        if guid not in self._dashboards:
            return {"entityResult": None, "errors": [{"type": "ENTITY_NOT_FOUND", "description": f"no {guid}"}]}
        account = self._dashboards[guid]["accountId"]
        self._dashboards[guid] = {**dashboard, "accountId": account}
        return {"entityResult": {"guid": guid, "name": dashboard["name"], "accountId": account}, "errors": None}

    def _delete(self, _: Any, guid: str) -> dict[str, Any]:
        if self._dashboards.pop(guid, None) is None:
            return {"status": None, "errors": [{"type": "DASHBOARD_NOT_FOUND", "description": f"no {guid}"}]}
        return {"status": "SUCCESS", "errors": None}

    def _search(self, _: Any, query: str = "") -> dict[str, Any]:
        named = re.search(r"name\s*(=|LIKE)\s*'((?:[^'\\]|\\.)*)'", query, re.IGNORECASE)
        entities = []
        for guid, dashboard in self._dashboards.items():
            name = dashboard["name"]
            wanted = named[2].strip("%") if named else ""
            if named is None or (name == wanted if named[1] == "=" else wanted.lower() in name.lower()):
                account = dashboard["accountId"]
                entity = {"guid": guid, "name": name, "accountId": account, "type": "DASHBOARD"}
                entities.append({**entity, "entityType": "DASHBOARD_ENTITY"})
        return {"count": len(entities), "results": {"entities": entities, "nextCursor": None}}

    def _account(self, _: Any, id: int) -> dict[str, Any]:
        return {
            "id": id,
            "alerts": {"policiesSearch": self._find_policies, "nrqlConditionsSearch": self._find_conditions},
        }

    def _find_policies(self, _: Any, searchCriteria: dict[str, Any] | None = None, cursor: str = "") -> dict[str, Any]:
        found = _matching(self._policies, searchCriteria or {})
        return {"policies": found, "totalCount": len(found), "nextCursor": None}

    def _find_conditions(
        self, _: Any, searchCriteria: dict[str, Any] | None = None, cursor: str = ""
    ) -> dict[str, Any]:
        found = _matching(self._conditions, searchCriteria or {})
        return {"nrqlConditions": found, "totalCount": len(found), "nextCursor": None}

    def _policy(self, _: Any, accountId: int, policy: dict[str, Any]) -> dict[str, Any]:
        made = {**policy, "id": self._number(), "accountId": accountId}
        self._policies[made["id"]] = made
        return made

    def _condition(self, _: Any, accountId: int, policyId: str, condition: dict[str, Any]) -> dict[str, Any]:
        if policyId not in self._policies:
            raise ValueError(f"there is no policy {policyId}")
        made = {**condition, "id": self._number(), "policyId": policyId}
        self._conditions[made["id"]] = made
        return made

    def _change_condition(self, _: Any, accountId: int, id: str, condition: dict[str, Any]) -> dict[str, Any]:
        if id not in self._conditions:
            raise ValueError(f"there is no condition {id}")
        self._conditions[id] = {**self._conditions[id], **condition}
        return self._conditions[id]


def _matching(shelf: dict[str, dict[str, Any]], criteria: dict[str, Any]) -> list[dict[str, Any]]:
    name, like, policy = (criteria.get(key) for key in ("name", "nameLike", "policyId"))
    return [
        one
        for one in shelf.values()
        if name in (None, one["name"]) and (like or "").lower() in one["name"].lower()
        if policy is None or one.get("policyId") == policy
    ]


def _check(dashboard: dict[str, Any]) -> None:
    """Pages, and widgets that lie in the twelve columns; raises ValueError, which GraphQL tells as an error."""
    if not dashboard["pages"]:
        raise ValueError("a dashboard has at least one page")
    for page in dashboard["pages"]:
        for widget in page["widgets"]:
            layout = widget.get("layout") or {}
            column, width = layout.get("column", 1), layout.get("width", 4)
            if not 1 <= column <= 12 or width < 1 or column + width > 13:
                raise ValueError(f"a widget does not lie in the 12 columns: {clip(layout)}")
            if "rawConfiguration" not in widget and "configuration" not in widget:
                raise ValueError(f"the widget {widget.get('title')!r} has no configuration")
            if "rawConfiguration" in widget and "visualization" not in widget:
                raise ValueError(f"the widget {widget.get('title')!r} has no visualization")
