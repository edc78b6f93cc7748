// The page at /live: log in, place an order, watch its way. It uses the public API and nothing else.
// Whatever a server says gets into the page as text, never as HTML.

const $ = id => document.getElementById(id);

function make(name, text, parent) {
  const element = parent.appendChild(document.createElement(name));
  element.textContent = text;
  return element;
}

// --- The API ---

class Refused extends Error {
  constructor(status, error) {
    const fields = (error.details ?? []).map(({field, message}) => `${field} ${message}`);
    super([error.message, ...fields].join("; "));
    this.status = status;
  }
}

// The token is kept by the tab and gone with it, and is in no URL.
let session = JSON.parse(sessionStorage.getItem("session"));

async function call(method, path, body, headers = {}) {
  const used = session;
  if (used) headers.authorization = `Bearer ${used.token}`;
  if (body) headers["content-type"] = "application/json";
  let response, answer;
  try {
    response = await fetch("/api/v1" + path, {method, headers, body: body && JSON.stringify(body)});
    answer = await response.json();
  } catch {
    throw new Error("The shop does not answer. Try again: nothing is done twice.");
  }
  if (response.ok) return answer.data;
  if (response.status === 401 && used && used === session) endSession("Your login has expired. Log in again to go on.");
  throw new Refused(response.status, answer.error);
}

// Random and not crypto.randomUUID, which pages have only over HTTPS and on localhost.
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), part => part.toString(36)).join("-");

// A stream of the gateway that goes on after the last message it has shown, however often the connection
// is lost. A WebSocket: EventSource can send no token, and the few connections that a browser opens to
// a host for EventSource and fetch() would be used up by three tabs.
class Stream {
  static open = new Set();

  constructor(path, show) {
    this.path = path;
    this.show = show;
    this.losses = 0;  // since it was last open
  }

  connect() {
    this.close();
    Stream.open.add(this);
    const query = this.seen === undefined ? "" : `?lastEventId=${this.seen}`;
    const url = location.origin.replace(/^http/, "ws") + "/api/v1" + this.path + query;
    this.socket = new WebSocket(url, ["shop.v1", `bearer.${session.token}`]);
    this.socket.onopen = () => {
      this.losses = 0;
      showConnection();
    };
    this.socket.onmessage = message => this.receive(JSON.parse(message.data));
    this.socket.onclose = () => this.lost();
  }

  receive({id, data}) {
    if (id === undefined) return;  // an error: the connection is closed next
    this.seen = id;
    this.show(data);
  }

  lost() {
    const pause = Math.min(1000 * 2 ** this.losses++, 8000) * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.comeBack(), pause);
    showConnection();
  }

  // A WebSocket that is refused does not tell a page why; whether the token has expired a request finds out.
  async comeBack() {
    await call("GET", "/auth/me").catch(() => {});
    if (Stream.open.has(this)) this.connect();
  }

  close() {
    Stream.open.delete(this);
    clearTimeout(this.timer);
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }
}

// A connection from before the network was away may never notice that it is dead.
addEventListener("online", () => [...Stream.open].forEach(stream => stream.connect()));

function showConnection() {
  const lost = [...Stream.open].some(({losses}) => losses > 0);
  $("connection").hidden = Stream.open.size === 0;
  $("connection").classList.toggle("lost", lost);
  const text = lost ? "Connection lost. Reconnecting …" : "Connected: you see what happens as it happens.";
  if ($("connection").textContent !== text) $("connection").textContent = text;
}

// --- Who is there ---

let notifications, watched;  // the streams

function endSession(why) {
  session = null;
  sessionStorage.removeItem("session");
  [...Stream.open].forEach(stream => stream.close());
  showSession();
  $("expired").textContent = why;
  $("entrance-title").focus();
}

function showSession() {
  $("entrance").hidden = !!session;
  $("shop").hidden = $("account").hidden = !session;
  $("expired").textContent = "";
  showConnection();
}

// Streams of before go on where they were, if they are the same person's.
function begin() {
  showSession();
  $("who").textContent = `${session.user.name}, ${session.user.email}`;
  if (notifications?.user !== session.user.id) forget();
  notifications ??= new Stream("/notifications/subscribe", showNotification);
  notifications.user = session.user.id;
  notifications.connect();
  if (watched) {
    watched.connect();
  } else {
    watch();
  }
  showConnection();
  showProducts();
}

function forget() {
  notifications = watched = undefined;
  $("notifications").replaceChildren();
  $("watched").hidden = true;
}

async function logIn({email, password}) {
  const {accessToken, user} = await call("POST", "/auth/login", {email, password});
  session = {token: accessToken, user};
  sessionStorage.setItem("session", JSON.stringify(session));
  begin();
  $("order-title").focus();
}

$("logout").addEventListener("click", () => {
  call("POST", "/auth/logout", {}).catch(() => {});  // nobody waits for it: without an answer the session expires
  forget();
  history.replaceState(null, "", location.pathname);
  endSession("");
});

// Runs `work` unless it runs already, and shows why it failed. The button that starts it is never disabled, as that
// would take the focus away from it.
async function once(element, problem, work) {
  if (element.ariaBusy === "true") return;
  element.ariaBusy = "true";
  problem.textContent = "";
  try {
    await work();
  } catch (error) {
    problem.textContent = error.message;
  } finally {
    element.ariaBusy = "false";
  }
}

// Runs `work` with the form's fields when it is sent, and empties the form.
function onSubmit(form, work) {
  form.addEventListener("submit", event => {
    event.preventDefault();
    once(form, form.querySelector(".problem"), async () => {
      await work(Object.fromEntries(new FormData(form)));
      form.reset();
    });
  });
}

onSubmit($("login"), logIn);
onSubmit($("register"), async ({name, email, password}) => {
  await call("POST", "/auth/register", {name, email, password});
  await logIn({email, password});
});

// --- The order ---

let currency = "";
let cursor;          // of the next page of products
let key = newKey();  // the same until the order is answered, or is another one

const cents = price => Math.round(price * 100);
const money = amount => `${(amount / 100).toFixed(2)} ${currency}`;

async function showProducts(more) {
  const page = more ? `&cursor=${cursor}` : "";
  const answer = await call("GET", "/products?inStock=true&limit=8&sort=-createdAt" + page).catch(() => null);
  if (!answer) return;
  if (!more) $("products").replaceChildren();
  answer.items.forEach(showProduct);
  cursor = answer.nextCursor;
  $("more").hidden = !cursor;
  $("no-products").hidden = $("products").children.length > 0;
  showTotal();
}

function showProduct(product) {
  currency = product.currency;
  const label = make("label", "", make("li", "", $("products")));
  const text = make("span", product.name, label);
  make("small", `${money(cents(product.price))}, ${product.stock} in stock`, text);
  const quantity = make("input", "", label);
  quantity.type = "number";
  quantity.min = 0;
  quantity.max = Math.min(product.stock, 1000);
  quantity.dataset.product = product.id;
  quantity.dataset.cents = cents(product.price);
  quantity.placeholder = "0";
}

const chosen = () => [...$("products").querySelectorAll("input")].filter(input => Number(input.value) > 0);
const total = () => chosen().reduce((sum, {value, dataset}) => sum + value * dataset.cents, 0);
const showTotal = () => $("total").textContent = total() ? `, ${money(total())}` : "";

$("more").addEventListener("click", () => showProducts(true));
$("order").addEventListener("input", () => {
  key = newKey();
  showTotal();
});

onSubmit($("order"), async ({paymentToken}) => {
  const items = chosen().map(({value, dataset}) => ({productId: Number(dataset.product), quantity: Number(value)}));
  if (!items.length) throw new Error("Choose how many of something.");
  const order = {items, paymentToken, expectedTotal: total() / 100};
  const {id} = await call("POST", "/orders", order, {"idempotency-key": key});
  key = newKey();
  location.hash = `order-${id}`;
  showProducts();
});

// --- Its way ---

// What each entry of a timeline means: who says so, in words, and whether that is good or bad.
const STEPS = {
  ORDER_CREATED: ["orders", "The order is placed"],
  STOCK_RESERVED: ["stock", "Its goods are reserved"],
  STOCK_REJECTED: ["stock", "There are not enough goods", "bad"],
  STOCK_RELEASED: ["stock", "Its goods can be bought again"],
  PAYMENT_COMPLETED: ["payments", "It is paid"],
  PAYMENT_FAILED: ["payments", "The payment has failed", "bad"],
  PAYMENT_REFUNDED: ["payments", "The money goes back"],
  ORDER_CONFIRMED: ["orders", "The order is confirmed"],
  SHIPMENT_DISPATCHED: ["shipping", "The carrier has the parcel"],
  ORDER_SHIPPED: ["orders", "The order has shipped"],
  SHIPMENT_DELIVERED: ["shipping", "The parcel has arrived"],
  ORDER_DELIVERED: ["orders", "The order is delivered", "good"],
  CANCEL_REQUESTED: ["orders", "A cancellation is asked for"],
  CANCEL_DECIDED: ["orders", "It will not go out: the cancellation is in time"],
  CANCEL_REFUSED: ["orders", "The carrier has it: the cancellation is too late", "bad"],
  ORDER_CANCELLED: ["orders", "The order is cancelled", "bad"],
};

const MEANINGS = {
  PENDING: "It waits for its goods and its payment.",
  PROCESSING: "Paid and confirmed. The carrier does not have it yet.",
  SHIPPED: "On its way.",
  DELIVERED: "It has arrived.",
  CANCELLED: "What was reserved and paid for it goes back.",
};

let placed;  // when the order that is shown was, in milliseconds

// The order that the URL names.
async function watch() {
  watched?.close();
  watched = undefined;
  $("watched").hidden = true;
  $("steps").replaceChildren();
  $("watched-problem").textContent = "";
  const [, id] = /^#order-(\d+)$/.exec(location.hash) ?? [];
  if (!id || !session) return;
  $("watched-title").textContent = `Order ${id}`;
  $("bought").textContent = $("status").textContent = $("meaning").textContent = "";
  $("cancel").hidden = true;
  $("watched").hidden = false;
  $("watched-title").focus();
  const stream = watched = new Stream(`/orders/${id}/watch`, showStep);
  stream.order = id;
  try {
    const order = await call("GET", `/orders/${id}`);
    if (stream !== watched) return;
    showOrder(order);
  } catch (error) {
    if (stream === watched) $("watched-problem").textContent = error.message;
    if (error.status) return;
  }
  if (session && stream === watched) stream.connect();
}
addEventListener("hashchange", watch);

function showOrder(order) {
  currency = order.currency;
  $("watched-title").textContent = `Order ${order.id} (${order.number})`;
  const lines = order.items.map(({quantity, name}) => `${quantity} × ${name}`);
  $("bought").textContent = `${lines.join(", ")}: ${money(cents(order.totalPrice))}`;
  showStatus(order.status);
}

function showStatus(status) {
  $("status").textContent = status;
  $("meaning").textContent = MEANINGS[status] ?? "";
  const gone = !["PENDING", "PROCESSING"].includes(status);
  if (gone && document.activeElement === $("cancel")) $("watched-title").focus();
  $("cancel").hidden = gone;
}

function showStep({sequence, at, what, status, detail}) {
  if (sequence === 1) placed = Date.parse(at);
  const [who, words, kind] = STEPS[what] ?? ["", what];
  const step = make("li", "", $("steps"));
  step.dataset.sequence = sequence;
  step.dataset.what = what;
  if (kind) step.className = kind;
  make("b", detail ? `${words}: ${detail}` : words, step);
  const small = make("small", `${sequence}. ${who} `, step);
  make("code", what, small);
  small.append(" ");
  showTime(at, small);
  small.append(`, after ${((Date.parse(at) - placed) / 1000).toFixed(2)} s`);
  showStatus(status);
}

function showTime(at, parent) {
  make("time", new Date(at).toLocaleTimeString(), parent).dateTime = at;
}

$("cancel").addEventListener("click", () => once($("watched"), $("watched-problem"),
  () => call("POST", `/orders/${watched.order}/cancel`, {})));

function showNotification({at, text, what, orderId}) {
  const item = document.createElement("li");
  $("notifications").prepend(item);
  make("a", text || what, item).href = `#order-${orderId}`;
  showTime(at, item);
}

if (session) {
  begin();
} else {
  showSession();
}
