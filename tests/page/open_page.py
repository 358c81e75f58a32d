"""Opens reports in Chromium, as a reader would. Called by ctest (entry `page`).

usage: open_page.py LRA_REPORT REPOSITORY [FOLDER FOR SCREENSHOTS]

The report of each folder of results/ that has records, and that of all of them: every id and every heading once, no console message, something drawn in each
figure, circles that stand out from the page. In the report of results/lecture and results/scaling everything that moves is tried, with the mouse and with the
keyboard alone: no console message, no request, tooltips, switches, highlighting, the address that keeps the view, sorting, theme, contents, list of runs; nothing
overlaps in any view of any chart, at 390, 768, 1280 and 1920 pixels. Without JavaScript the first chart is a picture. Exit code 4: skipped.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

SKIPPED = 4
CHROMIUM = "/usr/bin/chromium"

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    print(f"skipped: {sys.executable} has no playwright (scripts/test.sh installs it)")
    sys.exit(SKIPPED)
if not pathlib.Path(CHROMIUM).exists():
    print(f"skipped: {CHROMIUM} is missing (scripts/test.sh installs it)")
    sys.exit(SKIPPED)

# Pairs of texts of a chart that touch by more than a pixel: names, numbers of axes, legends.
OVERLAPS = """id => {
  const texts = [...document.querySelectorAll(`#${id} .chart svg text`)].filter(t => t.textContent.trim() && getComputedStyle(t).visibility !== "hidden" && Number(t.getAttribute("opacity") ?? 1) > 0);
  const boxes = texts.map(t => t.getBoundingClientRect());
  const found = [];
  for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
    const width = Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left);
    const height = Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top);
    if (width > 1 && height > 2.5) found.push(`${texts[i].textContent} | ${texts[j].textContent} (${width.toFixed(1)} x ${height.toFixed(1)})`);
  }
  return found;
}"""

# Elements of the page itself, block after block, and the switches.
PAGE_OVERLAPS = """() => {
  const found = [];
  for (const parent of document.querySelectorAll("main, figure, .switches, header, nav")) {
    const children = [...parent.children].filter(c => c.getClientRects().length && !["SCRIPT", "NOSCRIPT"].includes(c.tagName)).map(c => [c, c.getBoundingClientRect()]);
    for (let i = 0; i < children.length; i++) for (let j = i + 1; j < children.length; j++) {
      const [a, b] = [children[i][1], children[j][1]];
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
        found.push(`${children[i][0].outerHTML.slice(0, 80)} | ${children[j][0].outerHTML.slice(0, 80)}`);
    }
  }
  return found;
}"""


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Page:
    """One visit: a window of some width, light or dark."""

    def __init__(self, browser, url, width, scheme):
        self.messages = []
        self.width = width
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.messages.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        self.page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or self.messages.append(f"request: {request.url}"))
        self.page.goto(url)
        for figure in self.figures():
            self.wait_drawn(figure)

    def figures(self):
        return self.page.evaluate("Object.keys(figures)")

    def wait_drawn(self, figure):
        self.page.wait_for_function("id => { const f = document.getElementById(id); return f.dataset.drawn !== undefined && f.dataset.drawn === f.dataset.view && f.dataset.drawnLayout === f.dataset.layout; }", arg=figure, timeout=20000)

    def choose(self, figure, switch, option):
        self.page.select_option(f'#{figure} select[aria-label="{switch}"]', option)
        self.wait_drawn(figure)

    def chart_text(self, figure):
        return self.page.evaluate("id => [...document.querySelectorAll(`#${id} .chart svg text`)].map(t => t.children.length ? [...t.children].map(c => c.textContent).join(' ') : t.textContent).join('\\n')", figure)


def check_layout(visit, width):
    page = visit.page
    expect(page.evaluate("document.documentElement.scrollWidth") <= width, f"the page is wider than {width} pixels")
    outside = page.evaluate("w => [...document.querySelectorAll('.switches *, header *, nav *, .banner')].filter(e => e.getClientRects().length && e.getBoundingClientRect().right > w - 8).map(e => e.outerHTML.slice(0, 80))", width)
    expect(not outside, f"at {width} pixels these reach over the edge: {outside[:5]}")
    overlaps = page.evaluate(PAGE_OVERLAPS)
    expect(not overlaps, f"at {width} pixels these overlap on the page: {overlaps[:5]}")
    views = 0
    for figure in visit.figures():
        for view in range(page.evaluate("id => figures[id].views.length", figure)):
            page.evaluate("""([id, view]) => {
              const selects = [...document.querySelectorAll(`#${id} select`)];
              figures[id].views[view].choice.forEach((c, i) => { selects[i].selectedIndex = c; });
              selects[0].dispatchEvent(new Event("change"));
            }""", [figure, view])
            visit.wait_drawn(figure)
            expect(page.evaluate("id => Number(document.getElementById(id).dataset.drawn)", figure) == view, f"{figure}: view {view} cannot be chosen")
            overlaps = page.evaluate(OVERLAPS, figure)
            expect(not overlaps, f"{figure}, view {view}, {width} pixels: these overlap: {overlaps[:5]}")
            wider = page.evaluate("id => { const c = document.querySelector(`#${id} .chart`); return c.scrollWidth - c.clientWidth; }", figure)
            expect(wider <= 1, f"{figure}, view {view}, {width} pixels: the chart is {wider} pixels wider than its place")
            scale = page.evaluate("id => { const s = document.querySelector(`#${id} .chart svg`); return s.getBoundingClientRect().width / s.viewBox.baseVal.width; }", figure)
            expect(0.7 < scale < 1.31, f"{figure}, view {view}, {width} pixels: the chart is scaled by {scale:.2f}: its letters are too small or too large")
            used = page.evaluate("id => { const c = document.querySelector(`#${id} .chart`); return c.querySelector('svg').getBoundingClientRect().width / c.clientWidth; }", figure)
            expect(used > 0.8, f"{figure}, view {view}, {width} pixels: the chart uses {used:.0%} of its width")
            views += 1
    return views


def check_switches_and_tooltips(visit):
    page = visit.page
    expect("log scale" in visit.chart_text("figure-bubbles") and "4096 tokens" in visit.chart_text("figure-bubbles"), "the first view is 4,096 tokens on a logarithmic axis")
    visit.choose("figure-bubbles", "Length", "1,024 tokens")
    expect("1024 tokens" in visit.chart_text("figure-bubbles"), "the switch of the length does nothing")
    visit.choose("figure-bubbles", "Speed axis", "linear")
    expect("log scale" not in visit.chart_text("figure-bubbles"), "the switch of the axis does nothing")
    visit.choose("figure-bubbles", "Memory", "whole process (CPU)")
    expect("high-water mark" in page.inner_text("#figure-bubbles .caption"), "the switch of the memory does nothing")
    visit.choose("figure-bubbles", "Speed axis", "logarithmic")

    names = set()
    for circle in page.query_selector_all('#figure-bubbles .chart svg [aria-roledescription="circle"]'):
        circle.scroll_into_view_if_needed()
        box = circle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2 - 2, box["y"] + box["height"] / 2)
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
        page.wait_for_selector("#vg-tooltip-element.visible", timeout=3000)
        text = page.inner_text("#vg-tooltip-element")
        expect("Examples/s" in text and "Pareto front" in text and "Memory" in text, f"a tooltip says: {text}")
        names.add(page.inner_text("#vg-tooltip-element td.value >> nth=0"))
    expect(len(names) >= 15, f"tooltips name few mechanisms: {names}")

    page.mouse.move(5, 5)
    visit.choose("figure-growth", "Quantity", "memory")
    expect("Peak tensor memory" in visit.chart_text("figure-growth"), "the switch of the growth does nothing")


CHOSEN = "() => Object.fromEntries([...document.querySelectorAll('figure')].map(f => [f.id, [...new Set([...f.querySelectorAll('.chart .chosen')].map(e => e.dataset.key))]]))"


def check_highlight(visit, url):
    """A click on a circle highlights its mechanism in all charts, links to its runs, and is in the address."""
    page = visit.page
    page.evaluate("document.querySelector('#figure-bubbles [data-stop][data-key=performer]').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    marked = page.evaluate(CHOSEN)
    for figure in ("figure-bubbles", "figure-curves", "figure-growth", "figure-paper"):
        expect(marked[figure] == ["performer"], f"{figure} highlights {marked[figure]}")
    faded = page.evaluate("getComputedStyle(document.querySelector('#figure-bubbles [data-key=linear]')).opacity")
    expect(float(faded) < 0.3, f"the others have the opacity {faded}")
    expect(page.evaluate("document.querySelectorAll('tr.chosen').length") > 2, "the tables do not mark the mechanism")
    visit.choose("figure-bubbles", "Length", "1,024 tokens")
    expect(page.evaluate(CHOSEN)["figure-bubbles"] == ["performer"], "another view forgets the highlighted mechanism")
    address = page.evaluate("location.hash")
    expect("highlight=performer" in address and "1,024+tokens" in address, f"the address is {address}")

    page.click("#figure-bubbles .pointed a")
    expect(page.input_value("#run-filter") == "mechanism:performer", "the link does not lead to the runs")
    titles = page.evaluate("[...document.querySelectorAll('#run-list summary')].map(s => s.textContent)")
    expect(len(titles) > 2 and all("· performer ·" in title for title in titles), f"its runs are {titles[:3]}")
    expect(page.evaluate("document.getElementById('all-runs').getBoundingClientRect().top < innerHeight"), "the runs are not in view")

    other = Page(visit.context.browser, url + page.evaluate("location.hash"), visit.width, "light")
    expect(other.page.evaluate(CHOSEN)["figure-growth"] == ["performer"], "a sent address forgets the highlighted mechanism")
    expect("1024 tokens" in other.chart_text("figure-bubbles"), "a sent address forgets the view")
    expect(other.page.input_value("#run-filter") == "mechanism:performer", "a sent address forgets the filter")
    expect(not other.messages, f"a sent address: {json.dumps(other.messages[:5])}")
    other.context.close()

    page.fill("#run-filter", "")
    page.keyboard.press("Escape")
    expect(page.evaluate("document.querySelectorAll('.chosen, .choosing').length") == 0, "Escape does not clear")
    visit.choose("figure-bubbles", "Length", "4,096 tokens")


def check_keyboard(browser, url, width):
    """From the address bar to a chart, along its mechanisms, and to the runs, without a mouse."""
    visit = Page(browser, url, width, "light")
    page = visit.page
    focused = lambda: page.evaluate("(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim().slice(0, 60)")
    walk = []
    while len(walk) < 60:
        page.keyboard.press("Tab")
        walk.append(focused())
        if page.evaluate("document.activeElement.hasAttribute('data-stop')"):
            break
    expect(walk[0] == "Contents", f"the first stop is {walk[0]}")
    expect(page.evaluate("document.activeElement.closest('figure')?.id") == "figure-bubbles", f"Tab does not reach the chart: {walk}")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    expect(ring == "solid", f"the focus is not seen: {ring}")
    seen = set()
    for _ in range(40):
        seen.add(page.evaluate("document.activeElement.dataset.key"))
        page.keyboard.press("ArrowRight")
    expect(len(seen) > 20, f"arrows reach {sorted(seen)}")
    key = page.evaluate("document.activeElement.dataset.key")
    page.keyboard.press("Enter")
    expect(page.evaluate(CHOSEN)["figure-growth"] in ([key], []) and page.evaluate(CHOSEN)["figure-bubbles"] == [key], "Enter does not highlight")
    page.keyboard.press("Tab")
    expect(focused().startswith("its "), f"after a highlighted circle Tab reaches {focused()}")
    page.keyboard.press("Enter")
    expect(page.input_value("#run-filter") == f"mechanism:{key}", "Enter does not lead to the runs")
    page.keyboard.press("Escape")
    expect(page.evaluate("document.querySelectorAll('.chosen').length") == 0, "Escape does not clear")
    expect(not visit.messages, f"at {width} pixels with the keyboard: {json.dumps(visit.messages[:5])}")
    visit.context.close()
    print(f"{visit.width} pixels, keyboard: {len(walk)} stops to the first chart ({', '.join(walk[:3])} ...), {len(seen)} mechanisms by arrows, Enter, its runs, Escape")


def check_contents(visit, width):
    """The table of contents: beside the page where there is room, else a bar that unfolds, and folds when something was chosen."""
    page = visit.page
    opened = "document.querySelector('#contents details').open"
    expect(page.evaluate(opened) == (width >= 1180), f"at {width} pixels the contents are {'open' if page.evaluate(opened) else 'folded'}")
    if width < 1180:
        page.click("#contents summary")
    page.click('#contents a[href="#definitions"]')
    page.wait_for_function("Math.abs(document.getElementById('definitions').getBoundingClientRect().top) < 80")
    expect(page.evaluate(opened) == (width >= 1180), "the contents do not fold after a choice")
    dead = page.evaluate("[...document.querySelectorAll('#contents a')].map(a => a.hash).filter(hash => !document.getElementById(hash.slice(1)))")
    expect(not dead, f"the contents name what is not there: {dead}")
    height = page.evaluate("document.querySelector('#differences')?.getBoundingClientRect().height ?? 0")
    expect(height < 60, f"the box of differences is {height} pixels high")


def check_without_javascript(browser, url):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    picture = page.locator("#figure-bubbles noscript svg")
    expect(picture.count() == 1 and picture.bounding_box()["width"] > 600, "without JavaScript the first chart is not there")
    context.close()


def check_sorting(visit):
    page = visit.page
    table = page.query_selector("table.sortable")
    heads = table.query_selector_all("th")
    read = lambda column: page.evaluate("([t, c]) => [...t.tBodies[0].rows].map(r => r.cells[c].dataset.value === undefined ? null : Number(r.cells[c].dataset.value))", [table, column])
    with_gaps = 0
    for column, head in enumerate(heads):
        if "number" not in (head.get_attribute("class") or ""):
            continue
        for direction in ("descending", "ascending"):
            head.query_selector("button").click()
            values = read(column)
            known = [value for value in values if value is not None]
            expect(len(known) > 10 and known == sorted(known, reverse=direction == "descending"), f"a click does not sort numbers {direction}: {values}")
            expect(None not in values[: len(known)], f"what was not measured is not last: {values}")
            expect(head.get_attribute("aria-sort") == direction, "aria-sort is wrong")
            with_gaps += None in values
    expect(with_gaps > 0, "no column of the first table has a gap: the test says nothing of them")
    heads[0].query_selector("button").click()
    names = page.evaluate("t => [...t.tBodies[0].rows].map(r => r.cells[0].textContent)", table)
    expect(names == page.evaluate("names => [...names].sort((a, b) => a.localeCompare(b))", names), "a click does not sort names")


# Texts of charts that are hard to read on the paper they stand on: contrast as WCAG defines it, at least 4.5.
PALE = """() => {
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll(".chart svg text")].filter(t => {
    const ink = luminance(getComputedStyle(t).fill);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5;
  }).map(t => `${t.textContent} (${getComputedStyle(t).fill})`);
}"""


def check_runs_and_theme(visit):
    page = visit.page
    page.fill("#run-filter", "bigbird listops")
    expect(page.inner_text("#run-count") == "1 run", f"the filter finds {page.inner_text('#run-count')}")
    page.click("#run-list summary")
    page.wait_for_selector("#run-list pre")
    text = page.inner_text("#run-list")
    expect("lra-run --config" in text and "data prepare listops" in text and '"block": 4' in text and "Intel" in text, f"a run says: {text[:300]}")

    papers = set()
    for _ in range(2):
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        pale = page.evaluate(PALE)
        expect(not pale, f"hard to read: {pale[:5]}")
        page.click("#theme")
    expect(len(papers) == 2, f"the theme does not change the paper: {papers}")


# Ids and headings that are there twice; figures with nothing drawn.
DOUBLE_HEADINGS = "() => { const titles = [...document.querySelectorAll('h1, h2, h3, h4')].map(e => e.textContent.trim()); return titles.filter((title, i) => titles.indexOf(title) !== i); }"
DOUBLE_IDS = "() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.filter((id, i) => ids.indexOf(id) !== i); }"
EMPTY_FIGURES = """() => [...document.querySelectorAll("figure")].filter(f => {
  const drawing = f.querySelector(".chart svg");
  return !drawing || drawing.querySelectorAll("path, text").length < 10 || drawing.getBoundingClientRect().height < 100;
}).map(f => f.id)"""

# Circles of charts that do not stand out from the page: the better of rim and area has a contrast below 3, as WCAG asks for graphics.
FAINT = """() => {
  const luminance = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
  const parts = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const paper = parts(getComputedStyle(document.body).backgroundColor);
  const contrast = (colour, opacity) => {
    if (colour === "none" || parts(colour).length < 3) return 1;
    const seen = parts(colour).slice(0, 3).map((c, i) => c * opacity + paper[i] * (1 - opacity)), [a, b] = [luminance(seen), luminance(paper)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const circles = [...document.querySelectorAll('.chart svg .mark-symbol.role-mark path')];
  const faint = circles.filter(path => {
    const style = getComputedStyle(path), all = Number(style.opacity);
    const rim = Number(style.strokeWidth.replace("px", "")) >= 1 ? contrast(style.stroke, all * Number(style.strokeOpacity)) : 1;
    return Math.max(rim, contrast(style.fill, all * Number(style.fillOpacity))) < 3;
  });
  return [circles.length, [...new Set(faint.map(path => `${getComputedStyle(path).fill} with a rim of ${getComputedStyle(path).stroke}`))]];
}"""


def check_folder(report, browser, folder, out):
    """The report of one folder: opened once, light, then dark."""
    subprocess.run([report, folder, "-o", out, "--no-pictures"], check=True, stdout=subprocess.DEVNULL)
    visit = Page(browser, (out / "index.html").as_uri(), 1280, "light")
    page = visit.page
    double = page.evaluate(DOUBLE_IDS)
    expect(not double, f"{folder}: these ids are there more than once: {double}")
    double = page.evaluate(DOUBLE_HEADINGS)
    expect(not double, f"{folder}: these headings are there more than once: {double}")
    figures = page.evaluate("[...document.querySelectorAll('figure')].map(f => f.id)")
    expect(sorted(figures) == sorted(visit.figures()), f"{folder}: the page has the figures {figures}, its script {visit.figures()}")
    empty = page.evaluate(EMPTY_FIGURES)
    expect(not empty, f"{folder}: nothing is drawn in {empty}")
    expect(("figure-roofline" in figures) == any(folder.rglob("profile.json")), f"{folder}: profiles, and figures {figures}")
    for _ in range(2):
        circles, faint = page.evaluate(FAINT)
        expect(circles > 0 and not faint, f"{folder}: of {circles} circles these are hard to see: {faint[:5]}")
        page.click("#theme")
    expect(page.inner_text("#run-count").endswith("listed") or page.inner_text("#run-count").endswith(("run", "runs")), f"{folder}: the list of runs is dead")
    if (out / "atlas.html").exists():
        page.goto((out / "atlas.html").as_uri())
        double = page.evaluate(DOUBLE_IDS)
        expect(not double, f"{folder}, atlas.html: these ids are there more than once: {double}")
        double = page.evaluate(DOUBLE_HEADINGS)
        expect(not double, f"{folder}, atlas.html: these headings are there more than once: {double}")
        expect(page.evaluate("document.querySelectorAll('.mechanism svg path').length") > 10, f"{folder}: the atlas is empty")
    expect(not visit.messages, f"{folder}: {json.dumps(visit.messages[:5])}")
    visit.context.close()
    return len(figures)


def main():
    report, repository = sys.argv[1], pathlib.Path(sys.argv[2])
    shots = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        subprocess.run([report, repository / "results/lecture", repository / "results/scaling", "-o", folder, "--no-pictures"], check=True)
        url = (pathlib.Path(folder) / "index.html").as_uri()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        start = time.monotonic()
        folders = [one for one in sorted((repository / "results").iterdir()) if one.is_dir() and any(one.rglob("result.json"))] + [repository / "results"]
        figures = sum(check_folder(report, browser, one, pathlib.Path(folder) / "each" / one.name) for one in folders)
        print(f"{len(folders)} reports, {figures} figures: every id and heading once, all drawn, all circles seen, no message ({time.monotonic() - start:.0f} s)")
        check_without_javascript(browser, (repository / "results/lecture/report.html").as_uri())
        for width in (390, 768, 1280, 1920):
            for scheme in ("light", "dark") if shots or width in (390, 1280) else ("light",):
                visit = Page(browser, url, width, scheme)
                if shots:
                    shots.mkdir(parents=True, exist_ok=True)
                    height = visit.page.evaluate("document.documentElement.scrollHeight")
                    for part, top in enumerate(range(0, height, 1800)):
                        visit.page.screenshot(path=shots / f"{width}_{scheme}_{part:02d}.png", full_page=True, clip={"x": 0, "y": top, "width": width, "height": min(1800, height - top)})
                if scheme == "light":
                    check_contents(visit, width)
                    if width in (390, 1280):
                        check_keyboard(browser, url, width)
                        check_switches_and_tooltips(visit)
                        check_highlight(visit, url)
                        check_sorting(visit)
                        check_runs_and_theme(visit)
                    views = check_layout(visit, width)
                expect(not visit.messages, f"at {width} pixels, {scheme}: {json.dumps(visit.messages[:5])}")
                visit.context.close()
            print(f"{width} pixels: {views} views, nothing overlaps; no message, no request")
        browser.close()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(f"failed: {error}")
        sys.exit(1)
