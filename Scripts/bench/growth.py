"""What Scripts/bench/growth.sh runs: measures, prints tables, and draws one SVG a curve."""
import glob, json, math, os, subprocess, time

work, out, binary = os.environ["WORK"], os.environ["OUT"], os.environ["BIN"] + "/strongroom"
pin = open(os.environ["STRONGROOM_TEST_PIN_FILE"]).read().strip()


def config(name, provider):
    path = f"{work}/{name}.yaml"
    with open(path, "w") as file:
        file.write(f"provider: it\nproviders: {{ it: {provider} }}\naccess-log: {{ path: {work}/{name}-log }}\n")
    return path


def bench(path, *arguments):
    command = [binary, "bench", "--config", path, "--json", *map(str, arguments)]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["rows"]
    return {row["what"]: row for row in rows}


def sizes(name):
    return [int(value) for value in os.environ[name].split()]


def plot(name, title, x_title, y_title, curves):
    """Both axes are logarithmic: a straight line upwards by one in one is linear growth."""
    width, height, left, bottom, top = 640, 360, 70, 50, 40
    xs = [x for _, points in curves for x, _ in points]
    ys = [y for _, points in curves for _, y in points]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys) * 1.01))
    span = math.log10(max(xs) / min(xs)) or 1

    def at(x, y):
        return (left + math.log10(x / min(xs)) / span * (width - left - 130),
                height - bottom - math.log10(y / low) / math.log10(high / low) * (height - bottom - top))

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>',
           f'<text x="{left}" y="20" font-size="14" fill="#222">{title}</text>',
           f'<text x="{left}" y="{height - 8}" fill="#555">{x_title}</text>',
           f'<text x="{left}" y="{top - 6}" fill="#555">{y_title}</text>']
    y = low
    while y <= high * 1.001:
        _, py = at(min(xs), y)
        svg.append(f'<path d="M{left} {py:.1f}H{width - 130}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{py + 4:.1f}" text-anchor="end" fill="#555">{y:,.10g}</text>')
        y *= 10
    for x in sorted(set(xs)):
        px, py = at(x, low)
        svg.append(f'<text x="{px:.1f}" y="{py + 18:.1f}" text-anchor="middle" fill="#555">{x:,}</text>')
    for (label, points), colour in zip(curves, ("#0b6bcb", "#b3470b", "#2b8a3e", "#862e9c")):
        path = " ".join(f"{at(x, y)[0]:.1f},{at(x, y)[1]:.1f}" for x, y in points)
        svg.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        svg += [f'<circle cx="{at(x, y)[0]:.1f}" cy="{at(x, y)[1]:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        px, py = at(*points[-1])
        svg.append(f'<text x="{px + 8:.1f}" y="{py + 4:.1f}" fill="{colour}">{label}</text>')
    with open(f"{out}/{name}.svg", "w") as file:
        file.write("\n".join(svg + ["</svg>"]) + "\n")
    print(f"\n{title}\n\n| {x_title} | " + " | ".join(label for label, _ in curves) + " |\n|" + "---|" * (len(curves) + 1))
    for i, (x, _) in enumerate(curves[0][1]):
        print(f"| {x:,} | " + " | ".join(f"{points[i][1]:,.3g}" for _, points in curves) + " |")


def fill(count):
    """More keys in the token, a portion at a time in a token that is nearly empty: SoftHSM looks at every object that is
    there for each that it makes, and 10,000 would take it an hour."""
    tokens, stash = os.path.dirname(os.environ["SOFTHSM2_CONF"]) + "/tokens", work + "/stash"
    token = os.path.dirname(glob.glob(tokens + "/*/token.object")[0])

    def move(source, target):
        for path in glob.glob(source + "/*-*.*"):
            os.rename(path, f"{target}/{os.path.basename(path)}")

    os.makedirs(stash, exist_ok=True)
    while count > 0:
        move(token, stash)
        subprocess.run([work + "/fillkeys", os.environ["MODULE"], "test", pin, str(min(count, 200))], check=True)
        count -= 200
    move(stash, token)


def keys():
    path = config("keys", f'{{ type: pkcs11, uri: "{os.environ["STRONGROOM_TEST_URI"]}" }}')
    median, mean, there = [], [], 0
    for count in sizes("KEYS"):
        fill(count - there)
        there = count
        row = bench(path, "--only", "keys", "--callers", 1, "--seconds", 6)["encrypt"]
        median.append((count, row["median_us"]))
        mean.append((count, 1e6 / row["per_second"]))
    plot("keys", "Encrypt under a key of its own, SoftHSM", "keys in the token", "µs", [("median", median), ("mean", mean)])


def callers():
    path = config("callers", f'{{ type: pkcs11, uri: "{os.environ["STRONGROOM_TEST_URI"]}" }}')
    whole, bare = [], []
    for count in sizes("CALLERS"):
        rows = bench(path, "--only", "keys", "--callers", count, "--seconds", 2)
        whole.append((count, rows["encrypt"]["per_second"]))
        bare.append((count, rows["bare calls: wrap"]["per_second"]))
    plot("callers", "Encrypt under a key of its own, SoftHSM", "callers", "a second", [("encrypt", whole), ("bare calls", bare)])


def log():
    seconds = []
    for size in sizes("LOG_MIB"):
        folder = f"{work}/log-{size}"
        os.mkdir(folder)
        n = written = 0
        with open(f"{folder}/access-20261124T000000.000000000Z-1.jsonl", "w") as file:
            while written < size << 20:
                n += 1
                key = "rare" if n % 100000 == 7 else "customer-pii"
                written += file.write(
                    f'{{"timestamp":"2026-11-24T08:{n // 60000000 % 60:02d}:{n // 1000000 % 60:02d}.{n % 1000000:06d}000Z",'
                    f'"sequence":{n},"operation":"unwrap","phase":"outcome","key_id":"{key}","provider":"hsm","success":true,'
                    f'"accessed_by":"billing-service","request_id":"{n}","duration_us":41.207,"cached":false}}\n')
        path = f"{work}/log-{size}.yaml"
        with open(path, "w") as file:
            file.write(f"providers: {{ it: {{ type: memory }} }}\naccess-log: {{ path: {folder} }}\n")
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([binary, "log", "show", "--key", "rare", "--config", path], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        seconds.append((size, sorted(times)[1]))
        subprocess.run(["rm", "-r", folder], check=True)
    plot("log", "log show --key", "MiB of log", "seconds", [("log show", seconds)])


def cache():
    path = config("cache", "{ type: memory }")
    seal, open_ = [], []
    for count in sizes("CACHE"):
        rows = bench(path, "--only", "fields", "--callers", 1, "--seconds", 3, "--cached-keys", count)
        seal.append((count, rows["encrypt"]["median_us"]))
        open_.append((count, rows["decrypt"]["median_us"]))
    plot("cache", "Fields of 64 bytes under cached keys, used in turn", "keys in the cache", "µs",
         [("encrypt", seal), ("decrypt", open_)])


for part in os.environ["PARTS"].split():
    globals()[part]()
