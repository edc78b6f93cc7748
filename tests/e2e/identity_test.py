"""Who may do what, and until when."""

import base64
import hmac
import re
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from case import Case
from event_stream import EventStream
from harness import PASSWORD, Person, mail_text, wait_for

OTHER_PASSWORD = "Another-Walk-2!"
# A call to each service that anybody who is logged in may make, whatever comes of it.
CALLS = {"auth": ("AuthService/GetMe", {}),
         "users": ("UsersService/GetUser", {"id": 1}),
         "products": ("ProductsService/CreateProduct", {}),
         "cart": ("CartService/GetCart", {}),
         "orders": ("OrdersService/ListOrders", {}),
         "payments": ("PaymentsService/GetPayment", {"orderId": 1}),
         "shipping": ("ShippingService/GetShipment", {"orderId": 1})}


class Identity(Case):
    def log_in(self, email):
        answer = self.shop.call("POST", "/auth/login", {"email": email, "password": PASSWORD})
        self.assertEqual(200, answer.status)
        return answer.data

    def refresh(self, tokens):
        return self.shop.call("POST", "/auth/refresh", {"refreshToken": tokens["refreshToken"]})

    def knows(self, service, token):
        """Whether the service, or `gateway`, takes the access token."""
        if service == "gateway":
            return self.shop.call("GET", "/auth/me", token=token).status != 401
        method, body = CALLS[service]
        _, text = self.grpcurl(service, f"shop.{service}.v1.{method}", body=body,
                               headers=[f"authorization: Bearer {token}"])
        return "Code: Unauthenticated" not in text

    def kill(self, process):
        """With SIGKILL; waits until it is back and those who call it, the gateway and auth, have noticed."""
        self.shop.script("kill-program", process)
        wait_for(process, lambda: self.shop.ready(process), 60)
        wait_for("somebody to register and to log in", lambda: Person(self.shop, "visitor"))

    def start_anew_with(self, settings):
        """Every process is given all settings, and so starts anew; waits until those who are asked for here check tokens again."""
        self.shop.change(settings)
        self.shop.script("up")
        for path in ("/auth/me", "/users", "/products/1/stock-movements", "/cart", "/orders", "/payments/1", "/shipments/1"):
            wait_for(path, lambda path=path: self.boss.call("GET", path).status != 503)

    def assert_refused_everywhere(self, token):
        """By the gateway, and by each service that is called past it. A moment later; but where a process was killed, what
        it had to publish waits for six seconds, until its relay's lease ends."""
        def refused(service):
            return wait_for(f"{service} to refuse the token", lambda: not self.knows(service, token), 30)

        services = ["gateway", *CALLS]
        with ThreadPoolExecutor(len(services)) as pool:
            list(pool.map(refused, services))
        _, text = self.grpcurl("notification", "shop.notification.v1.NotificationService/Subscribe", body={},
                               headers=[f"authorization: Bearer {token}"])
        self.assertIn("Code: Unauthenticated", text)

    def token_mailed_to(self, address, kind):
        """By the mail whose Message-ID begins with this."""
        mail = wait_for("the mail", lambda: [mail for mail in self.shop.mails(address, change=None)
                                             if f"<{kind}-" in str(mail["Message-ID"])], 60)[-1]
        return re.search(r"^[A-Za-z0-9_-]{43}$", mail_text(mail), re.M)[0]

    def set_up_with(self, **settings):
        """Starts anew what reads these settings, and puts them back after the test."""
        self.addCleanup(self.start_anew_with, {name: self.shop.settings[name] for name in settings})
        self.start_anew_with(settings)

    def assert_only_mailed(self, token):
        for event in self.shop.events("accounts"):
            self.assertNotIn(token, event.text)
        for name, text in self.shop.logs().items():
            self.assertNotIn(token, text, name)


class FormerSuperAdmin(Identity):
    def test_gives_no_power_with_the_old_token(self):
        deputy = Person(self.shop, "deputy")
        friend = Person(self.shop, "friend")
        self.assertEqual(200, self.boss.call("PUT", f"/users/{deputy.id}/role", {"role": "SUPER_ADMIN"}).status)
        deputy = Person(self.shop, email_address=deputy.email)
        self.assertEqual(200, deputy.call("PUT", f"/users/{friend.id}/role", {"role": "SELLER"}).status)

        self.assertEqual(200, self.boss.call("PUT", f"/users/{deputy.id}/role", {"role": "USER"}).status)
        for claim, method, path, body in (
                ("promotes themselves", "PUT", f"/users/{deputy.id}/role", {"role": "SUPER_ADMIN"}),
                ("promotes a friend", "PUT", f"/users/{friend.id}/role", {"role": "ADMIN"}),
                ("deletes somebody", "DELETE", f"/users/{friend.id}", None),
                ("registers an accomplice", "POST", "/auth/register",
                 {"name": "Accomplice", "email": "accomplice@example.com", "password": PASSWORD,
                  "role": "SUPER_ADMIN"})):
            with self.subTest(claim):
                # 403 at once, 401 once it is known everywhere that the session has ended.
                self.assertIn(deputy.call(method, path, body).status, (401, 403))
        self.assertEqual("SELLER", self.boss.call("GET", f"/users/{friend.id}").data["role"])


class Session(Identity):
    def test_goes_on_by_refreshing_and_ends_with_a_stolen_token(self):
        first = self.log_in(Person(self.shop, "traveller").email)
        second = self.refresh(first).data
        third = self.refresh(second).data
        self.assertEqual(200, self.shop.call("GET", "/auth/me", token=third["accessToken"]).status)
        self.assertEqual(401, self.refresh(first).status)
        self.assertEqual(401, self.refresh(third).status)
        self.assert_refused_everywhere(third["accessToken"])

    def test_that_is_logged_out_is_refused_everywhere_and_no_other(self):
        person = Person(self.shop, "leaver")
        here, there = self.log_in(person.email), self.log_in(person.email)
        for service in ("gateway", *CALLS):
            self.assertTrue(self.knows(service, here["accessToken"]), service)
        self.assertEqual(200, self.shop.call("POST", "/auth/logout", {}, token=here["accessToken"]).status)
        self.assert_refused_everywhere(here["accessToken"])
        for service in ("gateway", *CALLS):
            self.assertTrue(self.knows(service, there["accessToken"]), service)

    def test_that_is_logged_out_ends_its_streams(self):
        person = Person(self.shop, "watcher")
        order = person.order(self.boss.make_product("Curtain", Decimal("9.00"), 5))
        stream = EventStream(self.shop, person.token, f"/orders/{order}/watch")
        self.assertTrue(stream.next())
        self.assertEqual(200, self.shop.call("POST", "/auth/logout-all", {}, token=person.token).status)
        with self.assertRaisesRegex(AssertionError, "401"):
            while stream.next():
                pass
        self.assertEqual(["error"], stream.ends)

    def test_ends_with_another_password_but_the_one_that_changes_it(self):
        person = Person(self.shop, "careful")
        here, there = self.log_in(person.email), self.log_in(person.email)

        def change(current):
            return self.shop.call("POST", "/auth/password", {"currentPassword": current, "newPassword": OTHER_PASSWORD},
                                  token=here["accessToken"]).status

        self.assertEqual(401, change(OTHER_PASSWORD))
        self.assertTrue(self.knows("orders", there["accessToken"]))
        self.assertEqual(200, change(PASSWORD))
        self.assert_refused_everywhere(there["accessToken"])
        self.assertEqual(401, self.refresh(there).status)
        for service in ("gateway", *CALLS):
            self.assertTrue(self.knows(service, here["accessToken"]), service)
        self.assertEqual(200, self.refresh(here).status)
        for password, status in ((PASSWORD, 401), (OTHER_PASSWORD, 200)):
            self.assertEqual(status, self.shop.call("POST", "/auth/login",
                                                    {"email": person.email, "password": password}).status)

    def test_ends_with_the_role_it_began_with(self):
        person = Person(self.shop, "promoted")
        before = self.log_in(person.email)
        self.assertEqual(200, self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SELLER"}).status)
        since = self.log_in(person.email)
        self.assert_refused_everywhere(before["accessToken"])
        self.assertEqual(401, self.refresh(before).status)
        answer = self.refresh(since)
        self.assertEqual((200, "SELLER"), (answer.status, answer.data["user"]["role"]))
        self.assertTrue(self.knows("products", since["accessToken"]))

    def test_ends_with_the_deletion_of_its_user(self):
        person = Person(self.shop, "deleted")
        self.assertEqual(200, self.boss.call("DELETE", f"/users/{person.id}").status)
        self.assert_refused_everywhere(person.token)

    def test_ends_when_its_user_deletes_themselves_after_taking_what_is_kept_about_them(self):
        person, stranger = Person(self.shop, "leaving"), Person(self.shop, "stranger")
        person.order(self.boss.make_product("Suitcase", Decimal("3.00"), 5))
        kept = person.call("GET", "/users/me/export").data
        self.assertEqual((person.email, 1), (kept["profile"]["email"], len(kept["sessions"])))
        found = {}
        for link in kept["links"]:
            path = link["path"].removeprefix("/api/v1")
            if path.endswith("/subscribe"):
                continue
            answer = wait_for(path, lambda path=path: person.call("GET", path.format_map(found)).data)
            if path == "/orders":
                found["id"] = answer["items"][0]["id"]
        self.assertEqual(404, stranger.call("DELETE", f"/users/{person.id}").status)
        self.assertEqual(200, person.call("DELETE", f"/users/{person.id}").status)
        self.assert_refused_everywhere(person.token)

    def test_ends_everywhere_also_where_the_process_was_killed_meanwhile(self):
        person = Person(self.shop, "patient")
        self.assertEqual(200, self.shop.call("POST", "/auth/logout", {}, token=person.token).status)
        self.assert_refused_everywhere(person.token)
        self.kill("users")
        self.assertFalse(self.knows("users", person.token))


class AForgottenPassword(Identity):
    def forget(self, email):
        return self.shop.call("POST", "/auth/password/forgot", {"email": email})

    def test_is_replaced_by_mail_and_ends_all_sessions(self):
        person = Person(self.shop, "forgetful")
        here = self.log_in(person.email)
        known, unknown = self.forget(person.email), self.forget("nobody.at.all@example.com")
        self.assertEqual((202, {}), (known.status, known.data))
        self.assertEqual((202, {}), (unknown.status, unknown.data))
        token = self.token_mailed_to(person.email, "password-reset")

        def reset(token, password):
            return self.shop.call("POST", "/auth/password/reset", {"token": token, "newPassword": password}).status

        self.assertEqual(400, reset(token[::-1], OTHER_PASSWORD))
        self.assertEqual(400, reset(token, "P@ssw0rd"))
        self.assertEqual(200, reset(token, OTHER_PASSWORD))
        self.assertEqual(400, reset(token, OTHER_PASSWORD))
        self.assert_refused_everywhere(here["accessToken"])
        self.assertEqual(401, self.refresh(here).status)
        for password, status in ((PASSWORD, 401), (OTHER_PASSWORD, 200)):
            self.assertEqual(status, self.shop.call("POST", "/auth/login",
                                                    {"email": person.email, "password": password}).status)
        self.assertEqual([], self.shop.mails("nobody.at.all@example.com", change=None))
        self.assert_only_mailed(token)


class AnAddress(Identity):
    def confirm(self, token):
        return self.shop.call("POST", "/auth/email/confirm", {"token": token}).status

    def test_is_confirmed_by_mail_and_gets_no_other_before(self):
        product = self.boss.make_product("Letter box", Decimal("20.00"), 10)
        self.set_up_with(REQUIRE_CONFIRMED_EMAIL="true")
        person = Person(self.shop, "unconfirmed")
        token = self.token_mailed_to(person.email, "email-confirmation")
        before = person.order(product)
        wait_for("the mails to be refused", lambda: f"UNCONFIRMED  order {before}  ORDER_CONFIRMED"
                 in self.shop.script("mails-refused", quiet=True), 60)
        self.assertIn(f"UNCONFIRMED  order {before}  ORDER_CREATED", self.shop.script("mails-refused"))
        self.assertFalse(person.call("GET", "/auth/me").data["emailConfirmed"])
        self.assertEqual(400, self.confirm(token[::-1]))

        self.assertEqual(200, self.confirm(token))
        self.assertEqual(400, self.confirm(token))
        self.assertTrue(person.call("GET", f"/users/{person.id}").data["emailConfirmed"])
        since = person.order(product)
        wait_for("the mails of the next order", lambda: self.shop.mails(person.email, "confirmed"), 60)
        told = {str(mail["Message-ID"]) for mail in self.shop.mails(person.email, None)}
        self.assertEqual([], [mail for mail in told if f"-{before}-" in mail])
        self.assertIn(f"<order-{since}-created@shop>", told)
        self.assertEqual("EMAIL_CONFIRMED", person.call("POST", "/auth/email/confirmation", {}).json["error"]["code"])
        self.assert_only_mailed(token)

    def test_is_registered_in_private_and_told_by_mail(self):
        known = Person(self.shop, "known")
        self.set_up_with(PRIVATE_REGISTRATION="true")

        def register(email):
            answer = self.shop.call("POST", "/auth/register", {"name": "Eve", "email": email, "password": PASSWORD})
            return answer.status, answer.data

        def logged_in(email):
            return self.shop.call("POST", "/auth/login", {"email": email, "password": PASSWORD}).status
        self.assertEqual((202, {}), register(known.email))
        self.assertEqual((202, {}), register("unknown.until.now@example.com"))
        wait_for("the mail", lambda: [mail for mail in self.shop.mails(known.email, change=None)
                                      if "<registration-repeated-" in str(mail["Message-ID"])], 60)
        self.assertEqual(401, logged_in("unknown.until.now@example.com"))
        token = self.token_mailed_to("unknown.until.now@example.com", "email-confirmation")
        self.assertEqual(200, self.confirm(token))
        self.assertEqual(200, logged_in("unknown.until.now@example.com"))


class ASecondFactor(Identity):
    def code_of(self, secret, steps=0):
        """What an authenticator app shows, so many steps of 30 seconds from now."""
        key = base64.b32decode(secret)
        digest = hmac.digest(key, (int(time.time()) // 30 + steps).to_bytes(8, "big"), "sha1")
        at = digest[-1] & 15
        return f"{(int.from_bytes(digest[at:at + 4], 'big') & 0x7fffffff) % 1000000:06}"

    def test_is_needed_to_log_in_once_it_is_on(self):
        person = Person(self.shop, "prudent")
        other = self.log_in(person.email)

        def login(code=None):
            answer = self.shop.call("POST", "/auth/login", {"email": person.email, "password": PASSWORD}
                                    | ({"code": code} if code else {}))
            return answer.json["error"]["code"] if answer.status == 401 else answer.status

        secret = person.call("POST", "/auth/totp", {"currentPassword": PASSWORD}).data["secret"]
        self.assertEqual(200, login())
        # A step may begin in between: what is one step old at the first try may be two.
        confirmed = wait_for("the code to be taken", lambda: person.call(
            "POST", "/auth/totp/confirm", {"code": self.code_of(secret, -1)}).data)
        self.assert_refused_everywhere(other["accessToken"])
        self.assertEqual("SECOND_FACTOR_NEEDED", login())
        self.assertEqual("SECOND_FACTOR_WRONG", login("000000"))
        code = self.code_of(secret, 1)
        self.assertEqual(200, login(code))
        self.assertEqual("SECOND_FACTOR_WRONG", login(code))
        self.assertEqual(200, login(confirmed["recoveryCodes"][7]))
        off = person.call("DELETE", "/auth/totp", {"currentPassword": PASSWORD, "code": confirmed["recoveryCodes"][3]})
        self.assertEqual(200, off.status, off)
        self.assertEqual(200, login())
        for name, text in self.shop.logs().items():
            for secret_word in (secret, *confirmed["recoveryCodes"]):
                self.assertNotIn(secret_word, text, name)

    def test_gives_an_admin_their_power_where_it_is_required(self):
        admin = Person(self.shop, "powerful")
        self.assertEqual(200, self.boss.call("PUT", f"/users/{admin.id}/role", {"role": "ADMIN"}).status)
        self.set_up_with(REQUIRE_SECOND_FACTOR="true")
        tokens = self.log_in(admin.email)
        self.assertTrue(tokens["secondFactorRequired"])

        def users(token):
            return self.shop.call("GET", "/users", token=token).status
        self.assertEqual(403, users(tokens["accessToken"]))
        secret = self.shop.call("POST", "/auth/totp", {"currentPassword": PASSWORD}, token=tokens["accessToken"]).data
        wait_for("the code to be taken", lambda: self.shop.call(
            "POST", "/auth/totp/confirm", {"code": self.code_of(secret["secret"])}, token=tokens["accessToken"]).data)
        self.assertEqual(403, users(tokens["accessToken"]))
        next_tokens = self.refresh(tokens).data
        self.assertFalse(next_tokens["secondFactorRequired"])
        self.assertEqual(200, users(next_tokens["accessToken"]))


class SigningKeys(Identity):
    def published(self):
        return {key["kid"] for key in self.shop.fetch("/.well-known/jwks.json").json["keys"]}

    def test_are_followed_by_another_that_everybody_knows_before_it_signs(self):
        person = Person(self.shop, "signed")
        before = self.published()
        for _ in range(2):  # the second time there is one that waits for its turn
            self.shop.script("rotate-keys")
        wait_for("the next key", lambda: len(self.published()) == len(before) + 1)
        self.assertLess(before, self.published())
        for token in (person.token, self.log_in(person.email)["accessToken"]):
            self.assertTrue(self.knows("orders", token))
        self.kill("auth")
        self.assertLess(before, self.published())
        self.assertTrue(self.knows("auth", person.token))


class WhileKafkaIsAway(Identity):
    def tearDown(self):
        self.shop.script("start-program", "kafka")
        for process in ("gateway", *CALLS, "notification"):
            wait_for(f"{process} to be all there", lambda process=process: self.shop.ready(process), 90)

    def test_a_token_is_taken_until_it_expires_or_kafka_is_back(self):
        person = Person(self.shop, "castaway")
        self.shop.script("stop-program", "kafka")
        tokens = self.log_in(person.email)
        self.assertEqual(200, self.shop.call("POST", "/auth/logout", {}, token=tokens["accessToken"]).status)
        self.assertEqual(401, self.refresh(tokens).status)
        self.assertTrue(self.knows("cart", tokens["accessToken"]))
        wait_for("cart to say so", lambda: self.shop.readyz("cart") == (200, "ready; degraded: news of ended sessions\n"))
        self.shop.script("kill-program", "cart")
        wait_for("cart to serve without", lambda: self.shop.readyz("cart")[0] == 200, 60)

        self.shop.script("start-program", "kafka")
        wait_for("cart to be all there", lambda: self.shop.ready("cart"), 60)
        wait_for("cart to refuse the token", lambda: not self.knows("cart", tokens["accessToken"]), 60)
