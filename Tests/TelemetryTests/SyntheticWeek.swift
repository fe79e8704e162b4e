import KMSCore

@testable import Telemetry

/// A day to learn and a week of a small company's traffic, from a seed: a web service by day and by night, a billing
/// run at two, an archive reader now and then, an operator who rotates. Values vary as they do in life.
struct SyntheticWeek {
  static let begin = Timestamp(rfc3339: "2026-11-22T00:00:00Z")!
  static let day: Int64 = 86_400
  static let days: Int64 = 8

  private var random: SplitMix
  private(set) var events: [Observation] = []

  init(seed: UInt64) {
    random = SplitMix(state: seed)
    for minute in 0..<Self.days * 1440 {
      let second = minute * 60
      let hour = Double(minute % 1440) / 60
      let weekend = (minute / 1440) % 7 == 0 || (minute / 1440) % 7 == 6
      // From 2 a minute at night to 20 at noon; at weekends a third.
      let level = (2 + 18 * max(0, 1 - abs(hour - 13) / 8)) * (weekend ? 0.33 : 1)
      for _ in 0..<poisson(level) {
        use("web", "customer-pii", at: second, decrypt: uniform() < 0.7, context: UInt64(uniform() * 5000))
      }
      if hour >= 2, hour < 2.5 {
        for i in 0..<poisson(40) {
          use("billing", "invoices", at: second, decrypt: i % 2 == 0, context: UInt64(uniform() * 20_000))
        }
      }
      if uniform() < 0.01 { use("archive", "documents", at: second, decrypt: true, context: UInt64(uniform() * 100)) }
      if minute % 1440 == 180 {
        for key in ["customer-pii", "invoices", "documents"] { rotate(key, at: second) }
      }
    }
    sort()
  }

  mutating func sort() { events.sort { $0.timestamp < $1.timestamp } }

  /// One data operation and the provider call below it.
  mutating func use(
    _ principal: String, _ key: String, at second: Int64, decrypt: Bool, context: UInt64? = nil,
    error: KMSError.Code? = nil, slower: Double = 1, age: Duration = .seconds(7200)
  ) {
    // One in a thousand fails by itself; calls take 40 µs, some of them a hundred times that.
    let error = error ?? (uniform() < 0.001 ? .doesNotOpen : nil)
    let time = Self.begin.advanced(by: .seconds(second) + .milliseconds(Int64(uniform() * 59_000)))
    let duration = 40_000 * (0.7 + 0.6 * uniform()) * (uniform() < 0.01 ? 100 : 1) * slower
    var access = Access(principal: principal)
    access.contextTag = context.map { SplitMix.mix($0) }
    let name = try! KeyName(key)
    events.append(
      Observation(
        AccessEvent(
          decrypt ? .unwrap : .wrap, timestamp: time, key: name, provider: "hsm", access: access, errorCode: error,
          duration: .nanoseconds(Int64(duration)))))
    events.append(
      Observation(
        AccessEvent(
          decrypt ? .decrypt : .encrypt, timestamp: time, key: name,
          version: .make(now: time.advanced(by: .zero - age)), provider: "hsm", access: access, errorCode: error,
          duration: .nanoseconds(Int64(duration * 1.2)))))
  }

  mutating func rotate(_ key: String, at second: Int64, error: KMSError.Code? = nil) {
    let time = Self.begin.advanced(by: .seconds(second))
    events.append(
      Observation(
        AccessEvent(
          .rotate, timestamp: time, key: try! KeyName(key), provider: "hsm",
          access: Access(principal: "rotation-service"), errorCode: error, reason: "scheduled")))
  }

  mutating func uniform() -> Double { Double(random.next() >> 11) / Double(1 << 53) }

  private mutating func poisson(_ mean: Double) -> Int {
    // Sum of exponential gaps.
    var count = 0
    var left = mean
    while true {
      left += logarithm(1 - uniform())
      if left < 0 { return count }
      count += 1
    }
  }

  /// What the rules say of it, each alert once in an hour.
  func alerts(_ settings: AlertSettings = Self.settings) -> [Alert] {
    var rules = AlertRules(settings)
    var memory = AlertMemory(repeatAfter: settings.repeatAfter)
    var alerts: [Alert] = []
    for event in events { rules.observe(event) { if let alert = memory.admit($0) { alerts.append(alert) } } }
    return alerts
  }

  static var settings: AlertSettings {
    var settings = AlertSettings()
    settings.rotationInterval = .seconds(86_400)
    return settings
  }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.mix(state)
  }
  static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}
