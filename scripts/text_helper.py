"""Runs a Hugging Face tokenizer for penstock: one JSON object per line on standard input and on standard output.

    text_helper.py FOLDER          reads FOLDER/tokenizer.json, and names and ids of special tokens beside it

It first says {"vocabulary_size", "bos", "eos", "stop"}: ids, null where there is none; "stop" is that of
generation_config.json.
Then it answers, until its input ends:

    {"encode": [TEXT ...], "special_tokens": true}             for every text, in order: {"ids": [...], "more": false};
                                                               "more": true says that the next line goes on with it
    {"decode": [ID ...], "after": [ID ...], "skip_special_tokens": true}     {"text": what the ids add to "after"}

What is wrong with the folder or a request is one line {"error": TEXT}, and exit code 65. No code of the folder is run,
and nothing is fetched.
"""

import json
import sys
from pathlib import Path

EXIT_BAD_INPUT = 65

# A longer text is encoded in pieces of about this size: the tokenizer takes some 100 bytes of memory a character.
PIECE_CHARACTERS = 1 << 18
PIECES_AT_ONCE = 16
# What is looked at on both sides of a cut; far longer than any token.
CONTEXT_CHARACTERS = 1 << 10
CUT_TRIES = 32

SLOW_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")


class BadInput(Exception):
    """What is said, and then the end."""


def read_object(path):
    """The JSON object of a file; empty where there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path}: not a JSON object")
    return content


def load_tokenizer(folder):
    path = folder / "tokenizer.json"
    if not path.is_file():
        slow = next((f" ({name} alone will not do)" for name in SLOW_FILES if (folder / name).exists()), "")
        raise BadInput(f"{folder}: no tokenizer.json{slow}; save it there once with transformers: "
                       "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BadInput(f"{sys.executable} has no tokenizers package ({error}); run scripts/setup.sh, or set "
                       "PENSTOCK_PYTHON to a Python that has it") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:  # the library's panics are no Exceptions
        raise BadInput(f"{path}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_token(folder, tokenizer, name):
    """The id of "bos_token" or "eos_token" by the tokenizer's own files, or None."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token = read_object(folder / file).get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    return None


def facts(folder, tokenizer):
    generation = read_object(folder / "generation_config.json")
    stop = generation.get("eos_token_id")
    stop = stop if isinstance(stop, list) else [stop]
    return {
        "vocabulary_size": tokenizer.get_vocab_size(with_added_tokens=True),
        "bos": special_token(folder, tokenizer, "bos_token"),
        "eos": special_token(folder, tokenizer, "eos_token"),
        "stop": [token for token in stop if type(token) is int],
    }


def plain_ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def special_ids(tokenizer):
    """What the tokenizer puts in front of a text and behind it."""
    plain, full = plain_ids(tokenizer, "a"), tokenizer.encode("a", add_special_tokens=True).ids
    for begin in range(len(full) - len(plain) + 1):
        if full[begin:begin + len(plain)] == plain:
            return full[:begin], full[begin + len(plain):]
    raise BadInput("the tokenizer's special tokens depend on the text: split texts of more than "
                   f"{PIECE_CHARACTERS} characters")


def candidate_cuts(text, begin, end):
    """Places in [begin, end) where tokens usually end, from the back: starts of lines, then of words."""
    at = end
    for _ in range(CUT_TRIES):
        at = text.rfind("\n", begin, at)
        if at < 0:
            break
        if not text[at + 1].isspace():
            yield at + 1
    at = end
    for _ in range(CUT_TRIES):
        at = text.rfind(" ", begin, at)
        if at < 0:
            break
        if not text[at - 1].isspace():
            yield at


def next_cut(tokenizer, text, begin):
    """The end of the piece that starts at `begin`, and the ids of the context before that end. At a cut, what follows
    does not change the tokens in front. A piece without such a place grows."""
    end = begin + PIECE_CHARACTERS
    while end + CONTEXT_CHARACTERS < len(text):
        for at in candidate_cuts(text, end - PIECE_CHARACTERS // 2, end):
            left = plain_ids(tokenizer, text[at - CONTEXT_CHARACTERS:at])
            both = plain_ids(tokenizer, text[at - CONTEXT_CHARACTERS:at + CONTEXT_CHARACTERS])
            if both[:len(left)] == left:
                return at, left
        end += PIECE_CHARACTERS // 2
    return len(text), []


def encode_long(tokenizer, text, special_tokens):
    """The ids of one text in parts, (ids, more); the same ids as in one go. Each piece is encoded after the context in
    front of it, whose ids are then taken off: to the tokenizer no piece is the start of a text."""
    front, back = special_ids(tokenizer) if special_tokens else ([], [])
    begin, left = 0, []
    while begin < len(text):
        pieces, lefts = [], []
        while begin < len(text) and len(pieces) < PIECES_AT_ONCE:
            end, next_left = next_cut(tokenizer, text, begin)
            pieces.append(text[max(0, begin - CONTEXT_CHARACTERS):end])
            lefts.append(left)
            begin, left = end, next_left
        encodings = tokenizer.encode_batch_fast(pieces, add_special_tokens=False)
        for index, (encoding, context) in enumerate(zip(encodings, lefts)):
            if encoding.ids[:len(context)] != context:
                raise BadInput(f"a text of {len(text)} characters cannot be encoded in pieces: split it")
            last = begin == len(text) and index == len(encodings) - 1
            yield front + encoding.ids[len(context):] + (back if last else []), not last
            front = []


def encode(tokenizer, texts, special_tokens):
    """(ids, more) of every text in order."""
    short = [text for text in texts if len(text) <= PIECE_CHARACTERS]
    encodings = iter(tokenizer.encode_batch_fast(short, add_special_tokens=special_tokens))
    for text in texts:
        if len(text) <= PIECE_CHARACTERS:
            yield next(encodings).ids, False
        else:
            yield from encode_long(tokenizer, text, special_tokens)


def decode(tokenizer, ids, after, skip_special_tokens):
    """Decoders treat the start of a text in their own way, so the new text is what follows that of `after`."""
    front = tokenizer.decode(after, skip_special_tokens=skip_special_tokens)
    whole = tokenizer.decode(after + ids, skip_special_tokens=skip_special_tokens)
    if whole.startswith(front):
        return whole[len(front):]
    return tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


def answer(tokenizer, request):
    if "encode" in request:
        for ids, more in encode(tokenizer, request["encode"], request["special_tokens"]):
            yield {"ids": ids, "more": more}
    else:
        yield {"text": decode(tokenizer, request["decode"], request["after"], request["skip_special_tokens"])}


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")


def main():
    try:
        if len(sys.argv) != 2:
            raise BadInput("usage: text_helper.py FOLDER")
        folder = Path(sys.argv[1])
        tokenizer = load_tokenizer(folder)
        say(facts(folder, tokenizer))
        sys.stdout.flush()
        for line in sys.stdin.buffer:
            for message in answer(tokenizer, json.loads(line)):
                say(message)
            sys.stdout.flush()
    except BadInput as error:
        say({"error": " ".join(str(error).split())})
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
