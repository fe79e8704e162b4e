#if PKCS11
  import ArgumentParser
  import PKCS11Provider
  import Strongroom
  import SystemPackage

  /// `strongroom doctor --module`: what a token can do, before anybody relies on it.
  struct TokenReport {
    let examination: TokenExamination
    var isUsable: Bool { examination.isUsable }

    /// - Throws: ``KMSError`` when the token cannot be opened.
    init(module: String, initArguments: String?, token: String?, pinSource: String) async throws {
      let pin = try SecretSource(parsing: pinSource, folder: "", environment: ProcessEnvironment.all)
      examination = try await TokenExamination.run(
        module: module, initArguments: initArguments, token: token, pin: pin)
    }

    func print(asJSON: Bool) {
      if asJSON { Terminal.print(json.text) } else { for line in text { Terminal.print(line) } }
    }

    private var text: [String] {
      let e = examination
      var lines = ["token '\(e.label)', serial \(e.serial), firmware \(e.firmware), module \(e.module)", ""]
      lines += ["MECHANISM          LISTED  TRIED"]
      for trial in e.trials {
        lines.append(
          "\(padded(trial.mechanism, 17))  \(padded(trial.isListed ? "yes" : "no", 6))  "
            + "\(trial.use): \(trial.refusal ?? "works")")
      }
      lines += [
        "", "new keys wrap by   \(e.algorithm.map { "\($0)" } ?? "nothing"): \(e.reason)",
        "template of a KEK  \(e.template ?? "none is taken")",
        "IV of AES-GCM      \(e.gcmIV ?? "GCM does not work")",
        "sessions           \(e.sessions.count)\(e.sessions.isLimit ? ", not more" : " and more")", "",
      ]
      for (name, value) in e.attributes {
        lines.append("\(padded(name, 21))  \(value.map { $0 ? "true" : "false" } ?? "not told")")
      }
      lines += ["", "CALL                         MEDIAN       99 %    SLOWEST"]
      for latency in e.latencies {
        let columns = [latency.median, latency.p99, latency.slowest].map { leading("\(Int($0)) us", 9) }
        lines.append("\(padded(latency.call, 26))  \(columns.joined(separator: "  "))")
      }
      lines += e.scaling.map {
        "\(padded("\($0.threads) threads", 26))  \(leading("\(Int($0.perSecond))", 9)) wraps a second"
      }
      lines += [""] + (e.quirks.isEmpty ? ["no quirks found"] : e.quirks.map { "quirk: \($0)" })
      lines.append(e.isUsable ? "The suite can use it." : "The suite cannot use it as it is.")
      return lines
    }

    private var json: JSONValue {
      let e = examination
      return .object([
        ("token", .string(e.label)), ("serial", .string(e.serial)), ("firmware", .string(e.firmware)),
        ("module", .string(e.module)), ("usable", .bool(e.isUsable)),
        ("algorithm", e.algorithm.map { .string("\($0)") }), ("reason", .string(e.reason)),
        ("template", e.template.map { .string($0) }), ("gcm_iv", e.gcmIV.map { .string($0) }),
        ("sessions", .integer(Int64(e.sessions.count))), ("sessions_are_limited", .bool(e.sessions.isLimit)),
        (
          "mechanisms",
          .array(
            e.trials.map {
              .object([
                ("mechanism", .string($0.mechanism)), ("use", .string($0.use)), ("listed", .bool($0.isListed)),
                ("works", .bool($0.refusal == nil)), ("refusal", $0.refusal.map { .string($0) }),
              ])
            })
        ),
        ("attributes", .object(e.attributes.map { ($0.name, $0.value.map { .bool($0) }) })),
        (
          "latency_us",
          .array(
            e.latencies.map {
              .object([
                ("call", .string($0.call)), ("p50", .thousandths(Int64($0.median * 1000))),
                ("p99", .thousandths(Int64($0.p99 * 1000))), ("max", .thousandths(Int64($0.slowest * 1000))),
              ])
            })
        ),
        (
          "wraps_per_second",
          .array(
            e.scaling.map {
              .object([("threads", .integer(Int64($0.threads))), ("rate", .integer(Int64($0.perSecond)))])
            })
        ),
        ("quirks", .array(e.quirks.map { .string($0) })),
      ])
    }

    private func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }

    private func leading(_ text: String, _ width: Int) -> String {
      String(repeating: " ", count: max(0, width - text.count)) + text
    }
  }
#endif
