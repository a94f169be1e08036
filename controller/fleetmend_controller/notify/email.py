"""Mail over SMTP. All mails about one incident are one thread, and a mail that is sent again has the same Message-ID."""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from fleetmend.plain import plain_line

from ..options import Option, choice, listed, path, text, whole
from . import SEND_TIMEOUT_S, Answer, Channel, Kind, Message, Options, Outcome
from ._http import CA_FILE
from ._secrets import SecretError, read_secret
from ._times import rfc3339

PORTS = {"starttls": 587, "tls": 465, "plain": 25}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MAIL_TIMEOUT_S = 4 * SEND_TIMEOUT_S
SUBJECT_CHARS_MAX = 200
# Some readers show the fold of a long subject; a line may have 998 characters.
_POLICY = SMTP.clone(max_line_length=2 * SUBJECT_CHARS_MAX)
_AUTH_FAILED = (530, 534, 535, 538)


async def _send(options: Options, message: Message) -> Answer:
    try:
        password = read_secret(options["password_file"]) if options["password_file"] is not None else ""
        # The time limit of the connection is for each of its answers; this one is for all of them.
        async with asyncio.timeout(MAIL_TIMEOUT_S):
            return await asyncio.to_thread(_deliver, options, password, _mail(options, message))
    except SecretError as error:
        return Answer(Outcome.LATER, str(error))
    except TimeoutError:
        return Answer(Outcome.LATER, "no answer in time")
    except (OSError, smtplib.SMTPException, ssl.SSLError, ValueError) as error:
        return _failed(error)


def _deliver(options: Options, password: str, mail: EmailMessage) -> Answer:
    host, port = options["host"], options["port"] or PORTS[options["tls"]]
    trust = ssl.create_default_context(cafile=options["ca_file"])
    server: smtplib.SMTP
    if options["tls"] == "tls":
        server = smtplib.SMTP_SSL(host, port, timeout=SEND_TIMEOUT_S, context=trust)
    else:
        server = smtplib.SMTP(host, port, timeout=SEND_TIMEOUT_S)
    with server:
        if options["tls"] == "starttls":
            server.starttls(context=trust)
        if options["user"]:
            server.login(options["user"], password)
        refused = server.send_message(mail)
    # Some of the recipients have it. Sending again would double theirs; so it is accepted, and said.
    return Answer(Outcome.ACCEPTED, f"not for {', '.join(sorted(refused))}" if refused else "")


def _failed(error: Exception) -> Answer:
    """A final no of the server is final for this mail, unless it is about who we are, which a person can mend."""
    code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = min(code for code, _ in error.recipients.values())
    final = 500 <= code < 600 and code not in _AUTH_FAILED
    said = plain_line(f"{type(error).__name__}: {error}")[:SUBJECT_CHARS_MAX]
    return Answer(Outcome.REFUSED if final else Outcome.LATER, said)


def _mail(options: Options, m: Message) -> EmailMessage:
    mail = EmailMessage(_POLICY)
    mail["From"] = options["from"]
    mail["To"] = ", ".join(options["to"])
    mail["Subject"] = plain_line(m.headline)[:SUBJECT_CHARS_MAX]
    mail["Date"] = formatdate(m.at_ms / 1000)
    mail["Message-ID"] = _message_id(f"{m.id} {m.reminder}")
    mail["In-Reply-To"] = mail["References"] = _message_id(m.thread)
    mail["Auto-Submitted"] = "auto-generated"
    if m.severity == "page" and m.kind is Kind.ESCALATED:
        mail["Importance"] = "high"
    mail.set_content(_body(m))
    return mail


def _message_id(name: str) -> str:
    return f"<{hashlib.sha256(name.encode()).hexdigest()[:32]}@fleetmend.invalid>"


def _body(m: Message) -> str:
    facts = {
        "Host": m.host,
        "Check": f"{m.check} {m.key}".strip(),
        "Incident": m.incident,
        "Playbook": m.playbook,
        "For": m.to,
        "Why": m.why,
        "At": rfc3339(m.at_ms),
    }
    lines = [m.summary, m.text, "", *(f"{name}: {value}" for name, value in facts.items() if value)]
    more = ["", f"fleetmend explain {m.incident}"] if m.incident else []
    return "\n".join(plain_line(line) for line in (*lines, *more)).strip() + "\n"


def _judge(options: Options) -> str:
    if bool(options["user"]) != (options["password_file"] is not None):
        return "user and password_file belong together"
    if options["user"] and options["tls"] == "plain" and options["host"] not in LOOPBACK:
        return "a password must not travel in the clear: use tls: starttls or tls: tls"
    return ""


CHANNEL = Channel(
    name="email",
    summary="Mail over SMTP",
    options=(
        Option("host", text, "the mail server", required=True),
        Option("port", whole(1, 65_535), "its port; 587 with starttls, 465 with tls, 25 with plain"),
        Option("tls", choice("starttls", "tls", "plain"), "how the connection is protected", default="starttls"),
        Option("user", text, "name for the login", default=""),
        Option("password_file", path, "a file with the password for the login"),
        Option("from", text, "the sender's address", required=True),
        Option("to", listed(text), "addresses of the recipients", required=True),
        CA_FILE,
    ),
    send=_send,
    judge=_judge,
)
