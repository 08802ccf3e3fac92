"""Wrong answers to the exercises of part 0: code, and the property that it fails in."""

WRONG = {
    "01.1": [("answer = 1024", "channels"), ("answer = 32", "bits"), ("answer = 1 / 64", "upside down")],
    "01.2": [("def other_frame(frame, hop): return frame * hop // FRAME", "upside down"),
             ("def other_frame(frame, hop): return frame * FRAME", "samples"),
             ("def other_frame(frame, hop): return frame * FRAME / hop", "whole")],
    "01.3": [("answer = AutoencoderConfig()", "frame"), ("answer = AutoencoderConfig(n_bands=32)", "bands"),
             ("answer = AutoencoderConfig(strides=(2, 4, 4, 4))", "widths")],
    "02.1": [('def reads(steps): return "new" if {"write file", "rename"} & set(steps) else "old"', "emptied"),
             ('def reads(steps): return "old" if not steps else "half" if steps[-1].startswith("open") else "new"',
              "draft"),
             ("def reads(steps):\n    if \"rename\" in steps: return \"new\"\n"
              '    return "new" if "write file" in steps else "half" if "open file" in steps else "old"', "order")],
    "02.2": [("answer = 1e6 ** 2 / 2 ** 64", "twice"), ("answer = 1e6 / 2 ** 64", "pairs"),
             ("answer = 1e6 ** 2 / 2 / 2 ** 32", "squared")],
    "02.3": [("def changed(kept, now): return sorted(n for n in kept if n in now and sha256(now[n]) != kept[n])",
              "gone"),
             ("def changed(kept, now): return sorted(n for n in kept if n not in now)", "content"),
             ("def changed(kept, now):\n"
              "    return sorted(n for n in {*kept, *now} if n not in now or sha256(now[n]) != kept.get(n))",
              "promised")],
    "03.1": [("answer = 3", "unit"), ("answer = 9.03", "power"), ("answer = 8", "unit")],
    "03.2": [("def stored_bytes(model): return sum(4 * p.numel() for p in model.parameters()) + sum("
              "b.numel() * b.element_size() for b in model.buffers())", "half"),
             ("def stored_bytes(model): return sum(2 * v.numel() for v in model.state_dict().values())", "exact"),
             ("def stored_bytes(model): return sum(2 * p.numel() for p in model.parameters())", "buffers")],
    "03.3": [('def which_loads(card, file, pending): return "pending" if pending else "file"', "announced"),
             ('def which_loads(card, file, pending): return "file" if file == card else "nothing"', "finish"),
             ('def which_loads(card, file, pending): return "pending" if pending == card else "file"', "refuse")],
    "04.1": [('def is_pinned(address): return "@" in address', "branch"),
             ('def is_pinned(address): return parse_address(address)[1] not in (None, "main")', "tag"),
             ('import re\ndef is_pinned(address): return bool(re.search("@[0-9a-f]{7,40}$", address))', "short")],
    "04.2": [('def may_travel(names): return sorted(n for n in names if n.endswith((".safetensors", ".json")))',
              "card"),
             ("def may_travel(names):\n    return sorted(n for n in names if n.endswith((\".safetensors\", "
              "\".json\"))\n"
              '                  and n.rpartition(".")[0].rpartition("-")[2] in PARTS)', "pair"),
             ('def may_travel(names): return sorted(n for n in names if n.endswith(".safetensors"))', "whole")],
    "04.3": [('answer = "ABCD"', "look"), ('answer = "ADCB"', "tidy"), ('answer = "CABD"', "upload")]
}
