import AccessLog
import KMSCore

/// What was measured, and what it is held against.
struct BenchTable {
  struct Row {
    let group: String
    let what: String
    let measured: Measured
    /// Of the bare calls beside it; nil for those, and where there are none.
    let share: Double?
  }

  let provider: ProviderIdentity
  let seconds: Double
  private(set) var rows: [Row] = []

  init(provider: ProviderIdentity, seconds: Double) {
    self.provider = provider
    self.seconds = seconds
  }

  mutating func add(_ group: String, _ what: String, _ measured: Measured, of bare: Measured? = nil) {
    rows.append(
      Row(group: group, what: what, measured: measured, share: bare.map { measured.perSecond / $0.perSecond }))
  }
}

extension BenchTable {
  /// One table for each group of rows.
  var text: String {
    var groups: [String] = []
    for row in rows where !groups.contains(row.group) { groups.append(row.group) }
    let title = "provider \(provider.name) (\(provider.kind)), \(number(seconds, 1)) s each"
    return
      ([title]
      + groups.map { group in
        let cells = rows.filter { $0.group == group }.map { row in
          [
            row.what, "\(row.measured.callers)", number(row.measured.perSecond, 0), number(row.measured.median, 1),
            number(row.measured.p99, 1), row.share.map { number($0, 2) } ?? "",
          ]
        }
        return "\n\(group)\n"
          + Terminal.table(cells, header: ["", "callers", "a second", "median µs", "p99 µs", "of the bare calls"])
      }).joined(separator: "\n")
  }

  /// `provider`, `kind`, `seconds`, and `rows`: `group`, `what`, `callers`, `per_second`, `median_us`, `p99_us`, and
  /// `of_bare` where there are bare calls to hold it against.
  func json() -> String {
    JSONValue.object([
      ("provider", .string(provider.name)), ("kind", .string(provider.kind)),
      ("seconds", .thousandths(thousandths(seconds))),
      (
        "rows",
        .array(
          rows.map { row in
            .object([
              ("group", .string(row.group)), ("what", .string(row.what)),
              ("callers", .integer(Int64(row.measured.callers))),
              ("per_second", .thousandths(thousandths(row.measured.perSecond))),
              ("median_us", .thousandths(thousandths(row.measured.median))),
              ("p99_us", .thousandths(thousandths(row.measured.p99))),
              ("of_bare", row.share.map { .thousandths(thousandths($0)) }),
            ])
          })
      ),
    ]).text
  }

  private func thousandths(_ value: Double) -> Int64 { Int64((value * 1000).rounded()) }

  /// With so many decimals, and a comma at each thousand.
  private func number(_ value: Double, _ decimals: Int) -> String {
    let scale = decimals == 0 ? 1 : decimals == 1 ? 10 : 100
    let scaled = Int((value * Double(scale)).rounded())
    var whole = String(scaled / scale)
    var end = whole.endIndex
    while let comma = whole.index(end, offsetBy: -3, limitedBy: whole.startIndex), comma > whole.startIndex {
      whole.insert(",", at: comma)
      end = comma
    }
    guard decimals > 0 else { return whole }
    let rest = String(scaled % scale)
    return whole + "." + String(repeating: "0", count: decimals - rest.count) + rest
  }
}
