"""The page at /live in a real browser: Chromium without a window, driven as a person would use it."""

import os
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from harness import PASSWORD, tool, wait_for

PHONE = 360  # how wide a narrow one is, in CSS pixels

# The contrast (WCAG 2) of every text that is shown with what is behind it, where it is too little.
FAINT = """
const linear = part => (part /= 255) <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const behind = element => {
  for (; element; element = element.parentElement) {
    const colour = parts(getComputedStyle(element).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("body *")].filter(element => element.checkVisibility()
    && (/^(INPUT|SELECT)$/.test(element.tagName)
        || [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())))
  .map(element => {
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
    return [element.tagName + " " + element.textContent.trim().slice(0, 40),
            (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
  }).filter(([, contrast]) => contrast < 4.5);
"""


@contextmanager
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = tool("chromium")
    options.ignore_local_proxy_environment_variables()
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-proxy-server", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--window-size=1040,1040"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # it refuses root otherwise, and sees no page but ours
    driver = webdriver.Chrome(service=Service(tool("chromedriver")), options=options)
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    def __init__(self, driver, shop):
        self.driver = driver
        self.shop = shop

    # --- where it is ---

    def open(self, path="/live"):
        """The page as somebody sees it who comes for the first time."""
        self.driver.get(f"http://127.0.0.1:{self.shop.port('gateway')}{path}")
        self.run("sessionStorage.clear()")
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.refresh()
        self.problems()

    def narrow(self):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": PHONE, "height": 740, "deviceScaleFactor": 1, "mobile": True})

    def scheme(self, name):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": name}]})

    # --- what it shows ---

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector):
        """What of an element can be read; "" where there is nothing."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def shows(self, selector):
        return self.run("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector)

    def steps(self):
        """[(sequence, event)], as they stand in the page."""
        return [(int(sequence), what) for sequence, what in self.run(
            "return [...document.querySelectorAll('#steps li')].map(({dataset}) => [dataset.sequence, dataset.what])")]

    def order(self):
        """The id of the order that is watched."""
        return int(wait_for("an order in the URL", lambda: self.run("return location.hash").removeprefix("#order-")))

    def wait_for_step(self, what, limit=30):
        wait_for(f"the step {what}", lambda: what in (event for _, event in self.steps()), limit)

    def is_connected(self):
        return self.text("#connection").startswith("Connected")

    def problems(self, network=True):
        """What the browser has complained of since the last call, with or without what is about the network."""
        return [entry["message"] for entry in self.driver.get_log("browser")
                if entry["level"] in ("SEVERE", "WARNING")
                and (network or not ("net::ERR_" in entry["message"] or "WebSocket connection to" in entry["message"]
                                     or entry["source"] == "network"))]

    # --- what a person does, by keyboard ---

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, selector):
        """Tab, until the focus is there. Wherever it stops it has to be seen."""
        for _ in range(60):
            self.press(Keys.TAB)
            outline = self.run("const style = getComputedStyle(document.activeElement); return document.activeElement"
                               " === document.body ? 'solid 3px' : style.outlineStyle + ' ' + style.outlineWidth")
            assert outline == "solid 3px", f"the focus cannot be seen before {selector}: {outline}"
            if self.run("return document.activeElement.matches(arguments[0])", selector):
                return
        raise AssertionError(f"the keyboard does not get to {selector}")

    def fill(self, selector, text):
        self.tab_to(selector)
        self.press(text)

    def log_in(self, email, password=PASSWORD):
        wait_for("the entrance", lambda: self.shows("#login"))
        self.fill("#login [name=email]", email)
        self.fill("#login [name=password]", password)
        self.press(Keys.ENTER)
        wait_for("the shop", lambda: self.shows("#order"))

    def place_order(self, product, quantity=1, payment="The card is good"):
        """Orders a product that is among those shown; answers the order's id."""
        before = self.run("return location.hash")
        choice = f"#products input[data-product='{product}']"
        wait_for("the product", lambda: self.shows(choice))
        self.fill(choice, str(quantity))
        self.fill("#order select", payment)
        self.tab_to("#order > button")
        self.press(Keys.ENTER)
        wait_for("the order", lambda: self.run("return location.hash") not in ("", before))
        return self.order()
