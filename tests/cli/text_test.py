"""Models with a tokenizer of their own: text in, text out, against `tokenizers` and transformers."""

import importlib.util
import json
import math
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
from penstock_runner import TEXT_HELPER, penstock, penstock_json, write_jsonl
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 300
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.\n",
    "Größe, naïveté and 日本語 \U0001f98a: text is more than ASCII.",
    "def f(x):\n\treturn {\"a\": x / 2,   'b': [1, 2, 3]}\n\n\nprint(f(3))",
    "a",
    " leading and trailing spaces ",
]
PROMPT = "The quick dog"


def byte_level_tokenizer():
    """As Qwen's: byte-level BPE, nothing added to a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 4, trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False))
    return tokenizer


def metaspace_tokenizer():
    """As Llama 2's: spaces are letters, a text starts with one, unknown letters are bytes, BOS in front."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(TEXTS[:1] * 4, trainers.BpeTrainer(
        vocab_size=40, special_tokens=["<unk>", "<s>", "</s>", *byte_tokens], show_progress=False))
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(content=" ", left=1)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


TOKENIZERS = {"byte_level": byte_level_tokenizer, "metaspace": metaspace_tokenizer}


def save_model(folder, tokenizer, **config_keys):
    torch.manual_seed(0)
    end = tokenizer.token_to_id("</s>")
    config = LlamaConfig(**{
        "vocab_size": tokenizer.get_vocab_size() + 5, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
        "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": end, "pad_token_id": None,
        "initializer_range": 0.2, "attn_implementation": "eager", **config_keys})
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return model


@pytest.fixture(params=TOKENIZERS)
def folder(request, tmp_path):
    tokenizer = TOKENIZERS[request.param]()
    save_model(tmp_path / "model", tokenizer)
    write_jsonl(tmp_path / "text.jsonl", [{"text": text} for text in TEXTS])
    write_config(tmp_path)
    return tmp_path


def write_config(folder, **keys):
    settings = {"model_name_or_path": "model", "path": "text.jsonl", "max_seq_len": 1024, "max_steps": 3,
                "state_format": "float32", "compute_dtype": "float32", "prompt": PROMPT, "max_new_tokens": 24,
                "greedy": "true", **keys}
    (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))


def tokenizer_of(folder):
    return Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))


def rows_of(folder, texts=TEXTS):
    """What training should see: the tokenizer's ids and an EOS, as the oracle makes them."""
    tokenizer = tokenizer_of(folder)
    end = tokenizer.token_to_id("</s>")
    return [{"input_ids": [*tokenizer.encode(text).ids, end]} for text in texts]


def test_text_trains_as_its_ids_do(folder):
    write_jsonl(folder / "rows.jsonl", rows_of(folder))
    rows = penstock_json("gradients", "config.yaml", "path=rows.jsonl", "tokenizer=none", "--out", "rows.safetensors",
                         cwd=folder)
    for index, text in enumerate(TEXTS):
        (folder / f"text-{index}.txt").write_bytes(text.encode())
    for keys in (["tokenizer=model"], ["tokenizer=auto"], ["path=text-*.txt"]):
        text = penstock_json("gradients", "config.yaml", *keys, "--out", "text.safetensors", cwd=folder)
        assert {**text, "file": ""} == {**rows, "file": ""}, keys
        assert (folder / "text.safetensors").read_bytes() == (folder / "rows.safetensors").read_bytes(), keys


def test_an_eos_that_is_there_is_not_doubled(folder):
    write_jsonl(folder / "text.jsonl", [{"text": text + "</s>"} for text in TEXTS])
    write_jsonl(folder / "rows.jsonl", rows_of(folder))
    results = [penstock_json("gradients", "config.yaml", *keys, "--out", "out.safetensors", cwd=folder)
               for keys in ([], ["path=rows.jsonl", "tokenizer=none"])]
    assert results[0] == results[1]


@pytest.mark.parametrize("prompt", [PROMPT, "", "naïve \U0001f98a\n"])
def test_greedy_text_equals_transformers_generate(folder, prompt):
    ours = penstock("generate", "model", "--prompt", prompt, "greedy=true", "max_new_tokens=24", "state_format=float32",
                    "compute_dtype=float32", cwd=folder).out
    tokenizer = tokenizer_of(folder)
    ids = tokenizer.encode(prompt).ids or [tokenizer.token_to_id("<s>")]
    model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    theirs = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0].tolist()
    assert len(theirs) > len(ids)
    whole = AutoTokenizer.from_pretrained(folder / "model").decode(
        theirs, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert ours == whole + "\n"


def test_a_stop_token_of_the_generation_config_ends_the_text(folder):
    """generation_config.json may name more of them than config.json."""
    arguments = ["generate", "model", "--prompt", PROMPT, "greedy=true", "max_new_tokens=24", "compute_dtype=float32"]
    whole = penstock(*arguments, cwd=folder).out
    model = LlamaForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    tokenizer = tokenizer_of(folder)
    ids = tokenizer.encode(PROMPT).ids
    new = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0].tolist()[len(ids):]
    stop = next(index for index in range(3, 24) if new[index] not in new[:index])
    (folder / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [new[stop]]}))
    cut = penstock(*arguments, cwd=folder).out
    expected = tokenizer.decode(ids + new[:stop])
    assert cut == expected + "\n" and len(cut) < len(whole)


def test_a_run_on_text_ends_with_a_sample_and_its_folder_goes_on(folder):
    write_config(folder, val_size=2, max_seq_len=64)
    result = penstock("train", "config.yaml", "output_dir=run", cwd=folder)
    sample = result.out.split("--- sample ---\n")[1].split("\n--- end of sample ---")[0]
    assert sample.startswith(PROMPT) and len(sample) > len(PROMPT)
    assert "tokenizer: model" in (folder / "run" / "config.yaml").read_text()
    for name in ("run", "run/model"):
        again = penstock("generate", name, "--prompt", PROMPT, "greedy=true", "max_new_tokens=24",
                         "state_format=float32", "compute_dtype=float32", cwd=folder).out
        assert again == sample + "\n", name
    assert json.loads((folder / "run" / "model" / "tokenizer.json").read_text()) == json.loads(
        (folder / "model" / "tokenizer.json").read_text())


def test_bits_per_byte_count_the_bytes_of_the_text(folder):
    result = penstock_json("eval", "config.yaml", "eval_path=text.jsonl", "max_seq_len=16", cwd=folder)
    tokens = sum(len(row["input_ids"]) - 1 for row in rows_of(folder))
    assert result["trained_tokens"] == tokens
    text_bytes = sum(len(text.encode()) for text in TEXTS)
    if rows_of(folder)[3]["input_ids"][0] != tokenizer_of(folder).token_to_id("<s>"):
        assert tokens < text_bytes  # merges, or the count would prove nothing
    assert result["bits_per_byte"] == pytest.approx(result["loss"] * tokens / math.log(2) / text_bytes, rel=1e-6)


def refuse(folder, code, *needles, command=("train", "config.yaml"), env=None):
    result = penstock(*command, cwd=folder, expect=code, env=env)
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.err
    for needle in needles:
        assert needle in lines[0]
    assert not (folder / "runs").exists()


@pytest.fixture
def bad(tmp_path):
    save_model(tmp_path / "model", byte_level_tokenizer())
    write_jsonl(tmp_path / "text.jsonl", [{"text": text} for text in TEXTS])
    write_config(tmp_path)
    return tmp_path


def test_a_folder_without_tokenizer_json_says_how_to_get_one(bad):
    (bad / "model" / "tokenizer.json").rename(bad / "model" / "tokenizer.model")
    command = ("train", "config.yaml", "tokenizer=model")
    refuse(bad, 65, "tokenizer: model", "no tokenizer.json", "save_pretrained", command=command)
    refuse(bad, 65, "text.jsonl holds text", "no tokenizer")
    refuse(bad, 65, "no tokenizer", command=("generate", "model"))


def test_bytes_into_a_model_of_another_tokenizer_are_refused(bad):
    command = ("train", "config.yaml", "tokenizer=byte")
    refuse(bad, 65, "tokenizer: byte", "tokenizer.json", "set model", command=command)
    (bad / "model" / "tokenizer.json").rename(bad / "model" / "tokenizer.model")
    refuse(bad, 65, "tokenizer: byte", "tokenizer.model", command=command)
    scratch = (*command, "train_from_scratch=true")
    refuse(bad, 65, "tokenizer: byte", "tokenizer.model", "under `model`", command=scratch)


def test_bytes_into_a_shape_folder_need_its_special_tokens(bad):
    """The export has the folder's config.json and our tokenizer: both must name the same tokens."""
    shutil.rmtree(bad / "model")
    command = ("train", "config.yaml", "tokenizer=byte", "train_from_scratch=true", "output_dir=run")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaConfig(vocab_size=100, **shape).save_pretrained(bad / "model")
    refuse(bad, 65, "tokenizer: byte needs a vocabulary of 259", command=command)
    LlamaConfig(vocab_size=300, **shape).save_pretrained(bad / "model")
    refuse(bad, 65, "tokenizer: byte", "bos_token_id 256, eos_token_id 257", command=command)
    assert not (bad / "run").exists()
    LlamaConfig(vocab_size=300, bos_token_id=256, eos_token_id=257, pad_token_id=258, **shape).save_pretrained(
        bad / "model")
    penstock(*command, cwd=bad)
    tokenizer = AutoTokenizer.from_pretrained(bad / "run" / "model")
    config = LlamaForCausalLM.from_pretrained(bad / "run" / "model").config
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(tokenizer, name) == getattr(config, name), name


def test_a_shape_has_no_tokenizer_of_its_own(bad):
    (bad / "config.yaml").write_text("path: text.jsonl\ntokenizer: model\nhidden_size: 16\nintermediate_size: 16\n"
                                     "num_hidden_layers: 1\nnum_attention_heads: 2\nvocab_size: 300\nmax_steps: 1\n")
    refuse(bad, 65, "dataset.tokenizer", "model.model_name_or_path")


def test_ids_beyond_the_model_name_their_document(bad):
    save_model(bad / "model", byte_level_tokenizer(), vocab_size=260)
    refuse(bad, 65, "text.jsonl:1: the tokenizer makes id", "vocabulary of 260", command=(
        "train", "config.yaml", "max_new_tokens=0"))
    refuse(bad, 65, "generation.prompt: the tokenizer", "vocabulary of 260")


def test_a_broken_tokenizer_is_one_line(bad):
    for content in ("{}", "not json", '{"version": "1.0", "model": {"type": "New"}}', ""):
        (bad / "model" / "tokenizer.json").write_text(content)
        refuse(bad, 65, "model/tokenizer.json")
    save_model(bad / "model", byte_level_tokenizer())
    (bad / "model" / "tokenizer_config.json").write_text("[" * 100000)
    refuse(bad, 65, "model/tokenizer_config.json")


def test_a_prompt_that_is_not_text_is_refused(bad):
    refuse(bad, 65, "generation.prompt: byte 1 is not UTF-8", command=("generate", "model", "--prompt", "a\udcff"))


def python_that(folder, script):
    path = folder.parent / "python.sh"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return {"PENSTOCK_PYTHON": str(path)}


def test_a_helper_that_fails_is_one_line(bad):
    refuse(bad, 65, "/nowhere/python", "PENSTOCK_PYTHON", env={"PENSTOCK_PYTHON": "/nowhere/python"})
    refuse(bad, 74, "signal 9", env=python_that(bad, "kill -9 $$\n"))
    refuse(bad, 74, "not its protocol", env=python_that(bad, "echo garbage\nread line\n"))
    refuse(bad, 74, "exit code 3: out of luck", env=python_that(bad, "echo out of luck >&2\nexit 3\n"))
    refuse(bad, 65, "no tokenizers package", "scripts/setup.sh",
           env=python_that(bad, f'exec "{sys.executable}" -S "$@"\n'))
    refuse(bad, 74, "ended with exit code 2", "can't open file", env={"PENSTOCK_TEXT_HELPER": "/nowhere/helper.py"})


def test_a_program_in_a_tree_finds_its_helper(bad):
    program = bad / "tree" / "build" / "release" / "penstock"
    (bad / "tree" / "scripts").mkdir(parents=True)
    program.parent.mkdir(parents=True)
    shutil.copy(os.environ["PENSTOCK_BINARY"], program)
    environment = {"PENSTOCK_BINARY": str(program), "PENSTOCK_TEXT_HELPER": ""}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_BINARY", str(program))
        arguments = ["generate", "model", "--prompt", PROMPT, "max_new_tokens=4"]
        assert "PENSTOCK_TEXT_HELPER" in penstock(*arguments, cwd=bad, expect=65, env=environment).err
        shutil.copy(TEXT_HELPER["PENSTOCK_TEXT_HELPER"], bad / "tree" / "scripts")
        assert penstock(*arguments, cwd=bad, env=environment).out.startswith(PROMPT)


def test_code_in_the_folder_is_not_run(bad):
    for place in (bad, bad / "model"):
        (place / "tokenizers.py").write_text("raise SystemExit('the folder ran code')")
    penstock("generate", "model", "--prompt", PROMPT, "max_new_tokens=4", cwd=bad)
    penstock("generate", ".", "--prompt", PROMPT, "max_new_tokens=4", cwd=bad / "model")


def helper_module():
    spec = importlib.util.spec_from_file_location("text_helper", TEXT_HELPER["PENSTOCK_TEXT_HELPER"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("special_tokens", [True, False])
def test_a_text_in_pieces_has_the_ids_of_the_whole(name, special_tokens):
    helper = helper_module()
    helper.PIECE_CHARACTERS, helper.CONTEXT_CHARACTERS, helper.PIECES_AT_ONCE = 256, 32, 3
    tokenizer = TOKENIZERS[name]()
    for seed in range(8):
        rng = random.Random(seed)
        parts = [*TEXTS, " ", "\n", "\n\n", "x", "\t", "</s>", "日本", "x" * 40, "\r\n", "e\u0301"]
        text = "".join(rng.choice(parts) for _ in range(600))
        if seed == 7:
            text = text.replace(" ", "_").replace("\n", "-")  # hardly a place to cut
        answers = list(helper.encode(tokenizer, ["short", text, ""], special_tokens))
        last = [index for index, (_, more) in enumerate(answers) if not more]
        assert len(last) == 3 and last[0] == 0 and last[2] == len(answers) - 1, f"seed {seed}"
        assert seed == 7 or last[1] > 10, "the text was not cut"
        ids = [token for part, _ in answers[1:last[1] + 1] for token in part]
        assert ids == tokenizer.encode(text, add_special_tokens=special_tokens).ids, f"seed {seed}"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_new_text_keeps_its_first_space(name):
    """A decoder that drops the space at the start of a text must not do so in the middle."""
    tokenizer = TOKENIZERS[name]()
    front, whole = tokenizer.encode("The").ids, tokenizer.encode("The quick dog").ids
    assert whole[:len(front)] == front
    assert helper_module().decode(tokenizer, whole[len(front):], front, True) == " quick dog"
