"""A page of a run's progress on the scheduler's dashboard server: stages, rates, statuses, verdicts.

Distributed loads this module by name: its setting ``distributed.scheduler.http.routes`` is a list of modules with
``routes``, "that can be extended with user defined modules" (its own words). What the page shows comes as structured
events, which :mod:`lensflow.cluster.announce` logs through ``Client.log_event``. docs/decisions/0018 says why so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from tornado.web import RequestHandler

# Of the structured events; each holds all that its client has announced so far.
TOPIC = "lensflow"
PATH = "lensflow"
ROUTES = "distributed.scheduler.http.routes"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lensflow: progress</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; }
body { font: 14px system-ui, sans-serif; margin: 16px; max-width: 900px; }
h1 { font-size: 17px; } h2 { font-size: 14px; margin: 18px 0 4px; }
table { border-collapse: collapse; } .wide { overflow-x: auto; } .wide table { width: 100%; }
th, td { text-align: right; padding: 3px 14px 3px 0; border-bottom: 1px solid #8884; font-weight: normal; }
th, .quiet { opacity: .7; } th:first-child, td:first-child, #verdicts td { text-align: left; vertical-align: top; }
progress { width: 140px; } .bad td { font-weight: 700; } #verdicts td:nth-child(2) { white-space: nowrap; }
section:not(:has(td)) { display: none; }
@media (max-width: 560px) { progress { width: 44px; } th, td { padding-right: 8px; } }
</style></head><body>
<h1>lensflow</h1><p id="said" class="quiet">Waiting for the first stage.</p>
<section class="wide"><table><thead><tr><th>stage</th><th></th><th>regions</th><th>rows</th><th>rows/s</th>
<th>running</th><th>left</th></tr></thead><tbody id="stages"></tbody></table></section>
<section><h2>Verdicts</h2><table><tbody id="verdicts"></tbody></table></section>
<section><h2>Statuses and reasons</h2><table><tbody id="counts"></tbody></table></section>
<script>
const time = s => !isFinite(s) ? "" : s < 90 ? Math.round(s) + " s" : s < 5400 ? Math.round(s / 60) + " min"
  : (s / 3600).toFixed(1) + " h";
const line = cells => { const tr = document.createElement("tr"); for (const cell of cells) {
  const td = document.createElement("td"); if (cell instanceof Node) td.append(cell); else td.textContent = cell;
  tr.append(td); } return tr; };
const bar = (done, total) => { const b = document.createElement("progress"); b.max = total; b.value = done; return b; };
const fill = (id, lines) => document.getElementById(id).replaceChildren(...lines.map(line));
const show = state => {
  const stages = state.stages;
  if (!stages.length) return;
  document.getElementById("said").textContent = "Last news " + time(state.age_s) + " ago.";
  fill("stages", stages.map(s => [s.name, bar(s.done, s.total), s.done.toLocaleString() + " of "
    + s.total.toLocaleString(), s.rows ? s.rows.toLocaleString() : "",
    s.rows && s.seconds ? Math.round(s.rows / s.seconds).toLocaleString() : "", time(s.seconds),
    s.done && s.done < s.total ? time(s.seconds * (s.total - s.done) / s.done) : s.done < s.total ? "" : "done"]));
  fill("counts", stages.flatMap(s => Object.entries(s.counts).map(([k, n]) =>
    [s.name + ": " + k, n.toLocaleString()])));
  fill("verdicts", state.verdicts.map(v => [v.name, v.verdict, v.reason]));
  for (const row of document.getElementById("verdicts").children)
    row.className = ["FAIL", "ERROR"].includes(row.children[1].textContent) ? "bad" : "";
};
const ask = async () => {
  try { show(await (await fetch("lensflow/state.json", {cache: "no-store"})).json()); }
  catch { document.getElementById("said").textContent =
    "The scheduler does not answer: the run has ended, or the way to it is cut."; }
};
ask(); setInterval(ask, 1000);
</script></body></html>
"""


def with_page(routes: Sequence[str]) -> list[str]:
    """Modules of routes, and this one among them."""
    return [*routes, *([__name__] if __name__ not in routes else [])]


class PageHandler(RequestHandler):
    """The page; its script asks for the state once a second."""

    def initialize(self, dask_server: Any = None) -> None:
        """Take the scheduler that distributed hands to every route."""

    def get(self) -> None:
        """Answer with the page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
        self.write(_PAGE)


class StateHandler(RequestHandler):
    """What was announced last, as JSON."""

    def initialize(self, dask_server: Any = None) -> None:
        """Take the scheduler."""
        self._scheduler = dask_server

    def get(self) -> None:
        """Answer with stages and verdicts; empty before the first announcement."""
        events = self._scheduler.get_events(TOPIC) if self._scheduler is not None else ()
        state: dict[str, Any] = {"stages": [], "verdicts": [], "age_s": 0.0}
        if events:
            when, announced = events[-1]
            state |= {**announced, "age_s": max(time.time() - when, 0.0)}
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(state))


routes: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
    (rf"/{PATH}", PageHandler, {}),
    (rf"/{PATH}/state.json", StateHandler, {}),
]
