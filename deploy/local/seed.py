"""A believable catalogue and a few users, put in through the public API as clients would do it."""

import json
import random
import time

from http_client import fetch
from settings import StackError

PASSWORD = "Seed-Pass-2026!"
SELLERS = ("Alice Moreau", "Bob Lindqvist", "Carol Mensah")
CUSTOMERS = ("Dave Okafor", "Erin Sato", "Frank Novak")

# Category: its product lines, then its kinds of product with a sentence and a usual price.
CATALOGUE = {
    "Kitchen": (("Halden", "Copperleaf", "Marlow", "Sunday Table", "Fjord"), {
        "Chef's Knife": ("A 20 cm blade of high-carbon steel that holds its edge.", 64),
        "Cast Iron Skillet": ("Pre-seasoned, heavy, and happy on any stove or open fire.", 48),
        "Pour-over Coffee Set": ("Glass carafe, steel filter and a measuring spoon.", 36),
        "Mixing Bowl Trio": ("Three nesting bowls with pouring lips and non-slip feet.", 29),
        "Stoneware Casserole": ("Goes from the oven to the table and into the dishwasher.", 55)}),
    "Home Office": (("Kestrel", "Northgate", "Paperwing", "Linden", "Quiet Room"), {
        "Standing Desk": ("Electric height adjustment with four remembered positions.", 389),
        "Task Chair": ("Mesh back, adjustable arms, and a seat that tilts with you.", 229),
        "Desk Lamp": ("Dimmable warm to cool light on a balanced arm.", 59),
        "Monitor Arm": ("Carries screens of up to 32 inches and hides their cables.", 89),
        "Document Tray": ("Three stacking levels of powder-coated steel.", 27)}),
    "Audio": (("Tamsin", "Overtone", "Bluebird", "Resonance", "Studio Nine"), {
        "Wireless Headphones": ("Active noise cancelling and thirty hours to a charge.", 149),
        "Bookshelf Speakers": ("A pair of two-way speakers with a warm, honest sound.", 219),
        "Turntable": ("Belt drive, a replaceable cartridge and a built-in preamp.", 189),
        "Travel Speaker": ("Pocket sized, splash proof, louder than it looks.", 49),
        "USB Microphone": ("A cardioid capsule for calls, podcasts and singing.", 99)}),
    "Outdoor": (("Ridgeline", "Wren", "Basecamp", "Tarn", "Lantern Hill"), {
        "Two-Person Tent": ("Stands in five minutes and weighs 2.1 kg.", 199),
        "Down Sleeping Bag": ("Comfortable to minus four, packs to the size of a loaf.", 179),
        "Trekking Poles": ("Folding aluminium poles with cork grips.", 59),
        "Camping Stove": ("Boils half a litre in under three minutes.", 45),
        "Insulated Bottle": ("Keeps tea hot for twelve hours and water cold for a day.", 32)}),
    "Fitness": (("Tempo", "Iron Oak", "Stride", "Balance Point", "Summit Club"), {
        "Yoga Mat": ("Natural rubber, 5 mm thick, with alignment marks.", 42),
        "Adjustable Dumbbells": ("A pair that goes from 2 to 24 kg with one turn.", 289),
        "Resistance Bands": ("Five strengths with handles and a door anchor.", 24),
        "Foam Roller": ("Firm, ridged and hollow, to store the bands inside.", 28),
        "Jump Rope": ("Ball-bearing handles and a cable to cut to length.", 16)}),
    "Garden": (("Greenhand", "Old Orchard", "Meadow", "Trowel & Co", "Hedgerow"), {
        "Pruning Shears": ("Bypass blades of forged steel; every part can be replaced.", 34),
        "Watering Can": ("Nine litres, galvanised, with a brass rose.", 39),
        "Raised Bed Kit": ("Untreated larch, no tools needed, 120 by 80 cm.", 119),
        "Herb Seed Collection": ("Twelve kitchen herbs with sowing dates.", 14),
        "Garden Fork": ("An ash shaft and four tines that do not bend.", 44)}),
    "Books": (("Harbour", "Lamplight", "Second Shelf", "Fieldnotes", "Atlas"), {
        "Illustrated World Atlas": ("Two hundred maps, revised this year.", 59),
        "Bread Baker's Handbook": ("Sixty recipes from flatbread to sourdough.", 28),
        "Guide to Garden Birds": ("What they look like, how they sing, what they eat.", 19),
        "Notebook Set": ("Three dotted notebooks with thread-sewn pages.", 17),
        "Short History of the Sea": ("Ships, storms and the people who charted them.", 24)}),
    "Toys": (("Little Fox", "Pebble", "Marvel Lane", "Treehouse", "Button & Bear"), {
        "Wooden Train Set": ("Forty pieces of beech, with a bridge and a station.", 54),
        "Building Blocks": ("A hundred blocks in a cotton bag.", 32),
        "Puzzle of the Continents": ("A thousand pieces and a poster.", 21),
        "Plush Hare": ("Soft, washable, and hard to lose thanks to its ears.", 18),
        "Science Kit": ("Twenty experiments with things you can look up later.", 39)}),
    "Clothing": (("Harrow", "Saltwater", "Everyday", "Juniper", "Loom"), {
        "Merino Sweater": ("Fine knit wool that does not itch.", 89),
        "Rain Jacket": ("Taped seams, a proper hood, and it packs into its pocket.", 129),
        "Linen Shirt": ("Garment washed, better every summer.", 65),
        "Canvas Sneakers": ("Cotton uppers on natural rubber soles.", 69),
        "Wool Socks": ("Three pairs, reinforced at heel and toe.", 26)}),
    "Electronics": (("Voltaic", "Signal", "Brightside", "Parallel", "Hummingbird"), {
        "Power Bank": ("20,000 mAh; charges a laptop and a phone together.", 58),
        "Mechanical Keyboard": ("Hot-swappable switches and a detachable cable.", 119),
        "Wireless Mouse": ("Quiet buttons and a battery for six months.", 39),
        "Webcam": ("Sharp in bad light, with a shutter for good measure.", 79),
        "Seven-Port Hub": ("USB-C in; displays, cards and network out.", 64)}),
    "Travel": (("Meridian", "Carousel", "Longway", "Postcard", "Aisle Seat"), {
        "Cabin Suitcase": ("A polycarbonate shell and four quiet wheels.", 159),
        "Packing Cubes": ("Six cubes that make a suitcase feel larger.", 29),
        "Weekend Duffel": ("Waxed canvas with leather handles.", 119),
        "Travel Pillow": ("Memory foam that keeps the head upright.", 34),
        "Document Wallet": ("Passport, tickets and a pen, behind one zip.", 25)}),
    "Bath & Body": (("Cedar & Salt", "Morning Mist", "Apothecary", "White Linen", "Riverstone"), {
        "Bath Towel Pair": ("Organic cotton, 600 g a square metre.", 45),
        "Soap Assortment": ("Six bars: lavender, pine, oatmeal and three surprises.", 22),
        "Shaving Kit": ("Safety razor, badger-free brush and a stand.", 49),
        "Scented Candle": ("Soy wax that burns for fifty hours.", 27),
        "Bathrobe": ("Waffle cotton with deep pockets.", 72)}),
}
NOTES = ("Ships within two working days.", "Repairable: spare parts are kept for ten years.",
         "Comes in recycled packaging.", "A favourite of returning customers.",
         "Thirty days to change your mind.", "Made in small batches.")


def products():
    """The same list every time: what varies is drawn from the product's own name."""
    for category, (lines, kinds) in CATALOGUE.items():
        for kind, (sentence, usual) in kinds.items():
            for line in lines:
                name = f"{line} {kind}"
                draw = random.Random(name)
                price = round(usual * draw.uniform(0.8, 1.3)) + draw.choice((-0.01, -0.05, -0.51, 0))
                slug = "".join(c if c.isalnum() else "-" for c in name.lower().replace("'", ""))
                yield {"name": name, "description": f"{sentence} {draw.choice(NOTES)}",
                       "price": round(price, 2), "stock": draw.randint(20, 500),
                       "category": category,
                       "images": [{"url": f"https://example.com/images/{slug}-{index + 1}.jpg",
                                   "index": index} for index in range(draw.randint(1, 3))]}


def email(name):
    return name.split()[0].lower() + "@shop.example.com"


class Api:
    """The gateway's, at an address; by HTTPS where that is its authority's file."""

    def __init__(self, address, ca):
        self.address = address
        self.ca = ca

    def call(self, method, path, body=None, token=None):
        """The status and the parsed body; waits where the gateway says to."""
        for _ in range(20):
            try:
                status, headers, text = fetch(self.address, "/api/v1" + path, method, body, token, ca=self.ca)
            except OSError as error:
                raise StackError(f"the gateway does not answer at {self.address} ({error}): "
                                 "run make up, then make seed again") from None
            if status != 429:
                break
            time.sleep(min(int(headers.get("Retry-After") or 1), 60))
        try:
            return status, json.loads(text)
        except ValueError:
            raise StackError(f"{method} {path} answered {status} and no JSON; is it our "
                             f"gateway that listens at {self.address}?") from None

    def expect(self, wanted, method, path, body=None, token=None):
        status, answer = self.call(method, path, body, token)
        if status != wanted:
            raise StackError(f"{method} {path} answered {status}: {message(answer)}\n"
                             "make logs SERVICE=gateway may say more")
        return answer["data"]

    def log_in(self, address, password, hint):
        status, answer = self.call("POST", "/auth/login", {"email": address, "password": password})
        if status == 401:
            raise StackError(f"{address} cannot log in: {hint}")
        if status != 200:
            raise StackError(f"logging in as {address} answered {status}: {message(answer)}")
        return answer["data"]["accessToken"]


def message(answer):
    error = answer.get("error") or {}
    details = "; ".join(f"{detail.get('field')}: {detail.get('message')}"
                        for detail in error.get("details") or [])
    return f"{error.get('message')} {details}".strip()


def make_users(api, token):
    made = 0
    for role, names in (("SELLER", SELLERS), ("USER", CUSTOMERS)):
        for name in names:
            status, answer = api.call("POST", "/auth/register", {
                "name": name, "email": email(name), "password": PASSWORD, "role": role}, token)
            if status not in (201, 409):  # 409: an earlier seed made it
                raise StackError(f"registering {email(name)} answered {status}: {message(answer)}")
            made += status == 201
    return made


def names_present(api):
    """The names in the catalogue, so that an interrupted seed is completed and not repeated."""
    names, page = set(), 1
    while True:
        answer = api.expect(200, "GET", f"/products?limit=100&page={page}&sort=name")
        names |= {item["name"] for item in answer["items"]}
        if page >= answer.get("totalPages", 0):
            return names
        page += 1


def make_products(api, missing):
    tokens = [api.log_in(email(name), PASSWORD, "it was made with another password; "
                         "make down && make up begins anew") for name in SELLERS]
    for count, product in enumerate(missing, 1):
        api.expect(201, "POST", "/products", product, tokens[count % len(tokens)])
        if count % 50 == 0 or count == len(missing):
            print(f"  {count} of {len(missing)} products", flush=True)


def run(settings, run_sql):
    """run_sql runs a statement in the database of products."""
    api = Api(f"localhost:{settings.port('GATEWAY_PORT')}", settings.http_ca)
    token = api.log_in(settings.require("SUPER_ADMIN_EMAIL"), settings.require("SUPER_ADMIN_PASSWORD"),
                       f"SUPER_ADMIN_PASSWORD in {settings.path} is not the one the account was made "
                       "with; make down && make up begins anew")
    users = make_users(api, token)
    if users:
        print(f"  {users} users", flush=True)
    present = names_present(api)
    missing = [product for product in products() if product["name"] not in present]
    if missing:
        make_products(api, missing)
        # What PostgreSQL plans by; its own turn would come within minutes. Of its own tables, as a bare
        # ANALYZE would say of each of the system's that it is not allowed to.
        run_sql("ANALYZE products")
    elif not users:
        print("nothing to do: the catalogue and the users are there")
    print(f"log in as {email(SELLERS[0])} (a seller) or {email(CUSTOMERS[0])}; password {PASSWORD}")
