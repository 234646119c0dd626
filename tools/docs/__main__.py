from tools.docs import PAGES, fill

for path in PAGES:
    path.write_text(fill(path.read_text("utf-8")), "utf-8")
