import Foundation
import Testing

/// SIGKILL at random moments of a bulk rewrap: nothing is lost, the next run does what is left, and nothing twice.
@Suite(.timeLimit(.minutes(10)))
struct BulkKillTests {
  struct Place: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let provider: String
    /// Arguments of rewrap.
    let arguments: String
    /// Lines of bash that make the place from `table.csv`, which has a column `secret`.
    var prepare = ":"
    /// Lines of bash that print each envelope in base64, one a line.
    let list: String
    /// Whether what was done before the kill is kept.
    var keepsProgress = true
  }

  private static let rows = 2000
  private static let files = 320

  static let places = [
    Place(
      testDescription: "a folder", provider: "softhsm", arguments: "data", prepare: makeFolder, list: listFolder),
    Place(
      testDescription: "a folder, in place", provider: "openssl", arguments: "data --in-place", prepare: makeFolder,
      list: listFolder),
    Place(
      testDescription: "CSV", provider: "openssl", arguments: "table.csv --column secret",
      list: "tail -n +2 table.csv | cut -d, -f2", keepsProgress: false),
    Place(
      testDescription: "JSON Lines", provider: "softhsm", arguments: "table.jsonl --column secret --jobs 2",
      prepare: #"tail -n +2 table.csv | awk -F, '{ print "{\"id\":" $1 ",\"secret\":\"" $2 "\"}" }' >table.jsonl"#,
      list: "cut -d '\"' -f6 table.jsonl", keepsProgress: false),
    Place(
      testDescription: "SQLite on SoftHSM", provider: "softhsm", arguments: "shop.db --table people --column secret",
      prepare: makeDatabase, list: listDatabase),
    Place(
      testDescription: "SQLite on OpenSSL", provider: "openssl",
      arguments: "shop.db --table people --column secret --jobs 2", prepare: makeDatabase, list: listDatabase),
  ]

  // Eight files, and copies of them.
  private static let makeFolder = """
    mkdir -p data/deep
    for n in 1 2 3 4 5 6 7 8; do
      head -c 20000 /dev/urandom >$n.plain; strongroom encrypt $n.plain -o $n.sealed
      for m in $(seq \(files / 8)); do cp $n.sealed data/deep/$n-$m; done
    done
    """
  private static let listFolder = "python3 ../list-folder.py"
  private static let makeDatabase = "python3 ../make-database.py"
  private static let listDatabase = "python3 ../list-database.py"

  private static let programs = [
    "list-folder.py": """
    import base64, os
    for root, _, names in sorted(os.walk("data")):
      for name in sorted(names):
        if not name.startswith("."): print(base64.b64encode(open(os.path.join(root, name), "rb").read()).decode())
    """,
    "make-database.py": """
    import base64, csv, sqlite3
    db = sqlite3.connect("shop.db")
    db.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, secret BLOB)")
    rows = [(int(r["id"]), base64.b64decode(r["secret"])) for r in csv.DictReader(open("table.csv"))]
    db.executemany("INSERT INTO people VALUES (?, ?)", rows)
    db.commit()
    """,
    "list-database.py": """
    import base64, sqlite3
    for (value,) in sqlite3.connect("shop.db").execute("SELECT secret FROM people ORDER BY id"):
      print(base64.b64encode(value).decode())
    """,
  ]

  private static let setUp = [
    "openssl": "strongroom init >/dev/null",
    "softhsm": """
    softhsm2-util --init-token --free --label vault --so-pin 9988-7766 --pin "$PIN" >/dev/null
    (umask 077; echo "$PIN" >pin)
    strongroom init --module "$MODULE" --token vault --pin-source file:pin >/dev/null
    """,
  ]

  @Test("killed while it rewraps", arguments: places)
  func rewrap(_ place: Place) async throws {
    if place.provider == "softhsm", Workspace.module == nil { try Test.cancel("SoftHSM is not installed") }
    let workspace = try Workspace()
    defer { workspace.remove() }
    for (name, text) in Self.programs {
      try Data(text.utf8).write(to: workspace.home.appending(path: name))
    }
    let prepared = try await workspace.run(
      """
      set -e
      \(Self.setUp[place.provider] ?? "")
      (echo id,secret; seq -f '%.0f,value %.0f' 1 \(Self.rows) 2>/dev/null || seq \(Self.rows) | sed 's/.*/&,value &/') >plain.csv
      \(place.list.contains("folder") ? "" : "strongroom encrypt plain.csv --column secret -o table.csv")
      \(place.prepare)
      strongroom key rotate default >/dev/null
      strongroom key list --json >keys.json
      """)
    #expect(prepared.exitCode == 0, "\(prepared.errors)")
    let current = try currentVersion(workspace)
    let before = try await envelopes(place, workspace)
    #expect(before.count == (place.list.contains("folder") ? Self.files : Self.rows))
    #expect(!before.contains { $0.range(of: current) != nil })

    // Progress is what the access log says: a busy machine is slow, but logs the same.
    let logged = try await logSize(workspace)
    _ = try await workspace.run("strongroom rewrap \(place.arguments) --dry-run")
    let whole = try await logSize(workspace) - logged
    var last = before
    var wasCutOff = false
    for range in [0.05...0.3, 0.3...0.6, 0.6...1] {
      let left = Double(last.filter { $0.range(of: current) == nil }.count) / Double(before.count)
      let share = Double.random(in: range)
      let size = try await logSize(workspace) + Int(Double(whole) * left * share)
      let killed = try await workspace.run(
        """
        strongroom rewrap \(place.arguments) & job=$!
        until [ $(zcat -f log/* | wc -c) -ge \(size) ]; do kill -0 $job || break; sleep 0.03; done
        sleep 0.0\(Int.random(in: 10...50)); kill -KILL $job; wait $job; echo $?
        """)
      let comment = "killed after \(share) of the rest"
      let now = try await envelopes(place, workspace)
      #expect(now.count == before.count, "\(comment)")
      // A header in place may be torn, with its journal beside it; all else is as it was or as it should be.
      let torn = zip(now, last).filter { pair in pair.0 != pair.1 && pair.0.range(of: current) == nil }.count
      #expect(torn <= (place.arguments.contains("in-place") ? 1 : 0), "\(comment)")
      let isKept = zip(now, last).allSatisfy { pair in pair.1.range(of: current) == nil || pair.0 == pair.1 }
      #expect(isKept, "rewrapped twice, \(comment)")
      let done = now.filter { $0.range(of: current) != nil }.count
      wasCutOff = wasCutOff || (killed.output.contains("137") && done < before.count)
      if !place.keepsProgress { #expect(done == 0 || done == before.count) }
      last = now
    }
    #expect(wasCutOff)

    let final = try await workspace.run("strongroom rewrap \(place.arguments) --json")
    #expect(final.exitCode == 0, "\(final.errors)")
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let report = try decoder.decode(Report.self, from: Data(final.output.utf8))
    let after = try await envelopes(place, workspace)
    #expect(after.count == before.count && after.allSatisfy { $0.range(of: current) != nil })
    #expect(report.rewrapped + report.currentAlready == before.count && report.failed.isEmpty)
    let wasCurrent = last.filter { $0.range(of: current) != nil }.count
    // One that was torn is finished before it is looked at.
    #expect((wasCurrent...wasCurrent + 1).contains(report.currentAlready))
    #expect(
      zip(after, last).allSatisfy { pair in pair.1.range(of: current) == nil || pair.0 == pair.1 },
      "rewrapped twice")
    let left = try FileManager.default.subpathsOfDirectory(atPath: workspace.folder.path).filter { name in
      ["partial", "rewrap-journal", "-journal", "-wal", "-shm"].contains { name.hasSuffix($0) }
    }
    #expect(left.isEmpty)
    try await checkAllOpen(place, after, before, workspace)
  }

  private struct Report: Decodable {
    let rewrapped: Int
    let currentAlready: Int
    let failed: [[String: String]]
  }

  /// The id of the version that is current, as it stands in envelopes.
  private func currentVersion(_ workspace: Workspace) throws -> Data {
    let text = try String(contentsOf: workspace.folder.appending(path: "keys.json"), encoding: .utf8)
    let active = try #require(text.range(of: "\"state\": \"active\""))
    let all = text.matches(of: /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/)
    let id = try #require(all.last { $0.range.lowerBound < active.lowerBound } ?? all.last)
    let hex = Array(id.output.filter { $0 != "-" })
    return Data(stride(from: 0, to: 32, by: 2).compactMap { UInt8(String(hex[$0...$0 + 1]), radix: 16) })
  }

  private func logSize(_ workspace: Workspace) async throws -> Int {
    // Finished files are compressed when the next command starts.
    Int(try await workspace.run("zcat -f log/* | wc -c").output.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
  }

  private func envelopes(_ place: Place, _ workspace: Workspace) async throws -> [Data] {
    let listed = try await workspace.run(place.list)
    #expect(listed.errors.isEmpty, "\(listed.errors)")
    return listed.output.split(separator: "\n").map { Data(base64Encoded: String($0)) ?? Data() }
  }

  private func checkAllOpen(
    _ place: Place, _ after: [Data], _ before: [Data], _ workspace: Workspace
  ) async throws {
    if place.list.contains("folder") {
      // Headers have 1,024 bytes; AES-KW gives copies of one file the same new header.
      #expect(
        zip(after, before).allSatisfy { pair in
          pair.0.dropFirst(1024) == pair.1.dropFirst(1024) && pair.0.count == pair.1.count
        })
      let samples = Set(after)
      #expect(samples.count == 8)
      let outcome = try await workspace.run(
        "for n in 1 2 3 4 5 6 7 8; do strongroom decrypt data/deep/$n-17 -o - | cmp - $n.plain || exit 1; done")
      #expect(outcome.exitCode == 0, "\(outcome.output)\(outcome.errors)")
    } else {
      let text = "id,secret\n" + after.enumerated().map { "\($0 + 1),\($1.base64EncodedString())\n" }.joined()
      try Data(text.utf8).write(to: workspace.folder.appending(path: "after.csv"))
      let outcome = try await workspace.run("strongroom decrypt after.csv --column secret -o - | cmp - plain.csv")
      #expect(outcome.exitCode == 0, "\(outcome.output)\(outcome.errors)")
    }
  }

  @Test("killed while it encrypts a file anew: the old file or the new one, whole")
  func reencrypt() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let prepared = try await workspace.run(
      "set -e; strongroom init; head -c 20000000 /dev/urandom >plain; strongroom encrypt plain -o sealed")
    #expect(prepared.exitCode == 0, "\(prepared.errors)")
    let start = ContinuousClock.now
    _ = try await workspace.run("strongroom reencrypt sealed")
    let whole = (ContinuousClock.now - start) / .seconds(1)
    for _ in 0..<3 {
      let delay = whole * Double.random(in: 0.4...1.1)
      let outcome = try await workspace.run(
        """
        strongroom reencrypt sealed >../out 2>&1 & job=$!; sleep \(delay); kill -KILL $job; wait $job
        strongroom decrypt sealed -o - | cmp - plain
        """)
      #expect(outcome.exitCode == 0, "killed after \(delay) s: \(outcome.errors)")
    }
    let last = try await workspace.run(
      "strongroom reencrypt sealed && ls -A && strongroom decrypt sealed -o - | cmp - plain")
    #expect(last.exitCode == 0 && last.output.hasPrefix("1 reencrypted") && !last.output.contains("partial"))
  }
}
