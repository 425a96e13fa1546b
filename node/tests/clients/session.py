"""A day in a mailbox; arguments: port, user, password. Ends with an exception at the first surprise."""

import imaplib
import re
import sys

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
imaplib._MAXLINE = 10_000_000


def same(got, expected):
    if got != expected:
        raise AssertionError(f"got      {got!r}\nexpected {expected!r}")


def done(answer):
    kind, data = answer
    same((kind, data and kind), ("OK", data and "OK"))
    return data


def message(number, body):
    return (
        f"From: Ada <ada@example.org>\r\nTo: {user}@example.org\r\n"
        f"Subject: number {number}\r\nMessage-ID: <{number}@example.org>\r\n"
        f"Date: Mon, 2 Nov 2026 10:00:0{number} +0000\r\n\r\n"
    ).encode() + body


bodies = {
    1: b"an apple\r\n",
    2: b"a pear\r\nA1 OK not an answer\r\n* 1 EXISTS\r\n)\r\n",
    3: bytes(set(range(1, 256)) - set(b"\r\n")) + b"\r\n",
    4: b"",
    5: b"x" * 300_000 + b"\r\n",
}
messages = {number: message(number, body) for number, body in bodies.items()}

refused = imaplib.IMAP4("127.0.0.1", port, timeout=30)
try:
    refused.login(user, "wrong")
    raise AssertionError("a wrong password was taken")
except imaplib.IMAP4.error as error:
    same(b"AUTHENTICATIONFAILED" in error.args[0] if isinstance(error.args[0], bytes) else "AUTHENTICATIONFAILED" in str(error), True)
refused.logout()

box = imaplib.IMAP4("127.0.0.1", port, timeout=30)
same("IMAP4REV1" in box.capabilities, True)
done(box.login(user, password))
same(done(box.namespace()), [b'(("" "/")) (("Other Users/" "/")) (("Shared Folders/" "/"))'])
done(box.create("Work"))
done(box.create('"Two words/below"'))
done(box.subscribe("Work"))
listed = [line.rsplit(b' "/" ', 1)[1] for line in done(box.list())]
for name in (b'"INBOX"', b'"Work"', b'"Two words"', b'"Two words/below"'):
    same((name, name in listed), (name, True))
same([line.rsplit(b' "/" ', 1)[1] for line in done(box.lsub('""', "W*"))], [b'"Work"'])

# Append: each message comes back byte for byte, whole, in halves, and in pieces.
for number, content in messages.items():
    flags = r"(\Flagged)" if number == 2 else None
    date = f'"{number:2}-Nov-2026 10:00:00 +0100"'
    answer = done(box.append("Work", flags, date, content))[0]
    same(re.match(rb"\[APPENDUID \d+ (\d+)\]", answer).group(1), b"%d" % number)
same(done(box.select("Work")), [b"5"])
same(box.response("UIDNEXT")[1], [b"6"])
for number, content in messages.items():
    items = "(RFC822.SIZE INTERNALDATE BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[]<5.70>)"
    data = done(box.uid("FETCH", str(number), items))
    pieces = [piece for piece in data if isinstance(piece, tuple)]
    same(f"RFC822.SIZE {len(content)} ".encode() in pieces[0][0], True)
    same(f'INTERNALDATE "{number:2}-Nov-2026 10:00:00 +0100"'.encode() in pieces[0][0], True)
    head = content[: content.index(b"\r\n\r\n") + 4]
    same([piece[1] for piece in pieces], [content, head, bodies[number], content[5:75]])
same([b"\\Seen" in line for line in done(box.fetch("1:5", "(FLAGS)"))], [False] * 5)
done(box.fetch("1", "(RFC822)"))
same(b"\\Seen" in done(box.fetch("1", "(FLAGS)"))[0], True)

# Store.
done(box.store("1:2", "+FLAGS", r"(\Answered $Todo)"))
done(box.store("2", "-FLAGS", r"(\Answered)"))
done(box.store("3", "FLAGS.SILENT", r"(\Draft)"))
flags = [
    set(imaplib.ParseFlags(line)) - {rb"\Recent"} for line in done(box.fetch("1:3", "(FLAGS)"))
]
same(flags, [{rb"\Seen", rb"\Answered", b"$Todo"}, {rb"\Flagged", b"$Todo"}, {rb"\Draft"}])

# Search.
for keys, found in [
    (("SUBJECT", '"number 2"'), b"2"),
    (("BODY", "PEAR"), b"2"),
    (("KEYWORD", "$Todo", "NOT", "FLAGGED"), b"1"),
    (("LARGER", "200000"), b"5"),
    (("OR", "DRAFT", "FROM", "nobody"), b"3"),
    (("ON", "4-Nov-2026"), b"4"),
    (("HEADER", "Message-ID", "<1@example.org>"), b"1"),
    (("UNSEEN", "SINCE", "3-Nov-2026"), b"3 4 5"),
]:
    same((keys, done(box.search(None, *keys))), (keys, [found]))
    same((keys, done(box.uid("SEARCH", *keys))), (keys, [found]))
box.literal = "pear".encode()
same(done(box.uid("SEARCH", "CHARSET", "UTF-8", "TEXT")), [b"2"])

# Copy and move keep bytes, flags and dates.
done(box.uid("COPY", "2,5", "INBOX"))
same(re.match(rb"\d+ 2,5 1:2", box.response("COPYUID")[1][-1]).group(0)[-7:], b"2,5 1:2")
done(box.uid("MOVE", "4", "Archive"))
same(done(box.search(None, "ALL")), [b"1 2 3 4"])
same(done(box.uid("SEARCH", "ALL")), [b"1 2 3 5"])

# UID EXPUNGE takes only what it names.
done(box.uid("STORE", "1,3", "+FLAGS", r"(\Deleted)"))
done(box.uid("EXPUNGE", "3:5"))
same(done(box.uid("SEARCH", "ALL")), [b"1 2 5"])
done(box.expunge())
same(done(box.uid("SEARCH", "ALL")), [b"2 5"])
same(done(box.status("Work", "(MESSAGES UIDNEXT UNSEEN)")), [b'"Work" (MESSAGES 2 UIDNEXT 6 UNSEEN 2)'])
done(box.close())

same(done(box.select("INBOX", readonly=True)), [b"2"])
for uid, number in ((1, 2), (2, 5)):
    data = done(box.uid("FETCH", str(uid), "(FLAGS INTERNALDATE BODY[])"))
    same(data[0][1], messages[number])
    same(f'INTERNALDATE "{number:2}-Nov-2026 10:00:00 +0100"'.encode() in data[0][0], True)
    same(b"$Todo" in data[0][0], number == 2)
# A mailbox opened with EXAMINE is not written.
same(box.store("1", "+FLAGS", r"(\Seen)")[0], "NO")
done(box.unselect())

# A second session sees and is seen.
other = imaplib.IMAP4("127.0.0.1", port, timeout=30)
done(other.authenticate("PLAIN", lambda _: b"\0" + user.encode() + b"\0" + password.encode()))
done(other.select("INBOX"))
done(box.select("INBOX"))
done(other.append("INBOX", None, None, messages[1]))
done(box.noop())
same(box.response("EXISTS")[1][-1], b"3")
done(other.store("1", "+FLAGS", r"(\Deleted)"))
done(other.expunge())
done(box.noop())
same(box.response("EXPUNGE")[1][-1], b"1")
same(done(box.fetch("2", "(BODY.PEEK[])"))[0][1], messages[1])
other.logout()

# Renaming and deleting.
done(box.rename("Work", "Old"))
same(done(box.select("Old")), [b"2"])
done(box.close())
done(box.delete("Old"))
same(box.select("Old")[0], "NO")
box.logout()
