import Glibc

/// A moment in UTC, in nanoseconds since 1970, printed as RFC 3339. Foundation's `Date` loses the nanoseconds.
public struct Timestamp: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// Since 1970-01-01T00:00:00Z.
  public let nanoseconds: Int64

  /// Since 1970, in UTC.
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
  /// Since 1970, in UTC. What is beyond the years 1677 to 2262 is the nearest moment in them.
  public init(milliseconds: Int64) { nanoseconds = Int64(clamping: Int128(milliseconds) * 1_000_000) }
  /// Since 1970, in UTC. What is beyond the years 1677 to 2262 is the nearest moment in them.
  public init(seconds: Int64) { nanoseconds = Int64(clamping: Int128(seconds) * 1_000_000_000) }

  /// The system clock, now.
  public static func now() -> Timestamp {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)  // `time` outlives the call
    return Timestamp(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  /// Since 1970, rounded towards it.
  public var milliseconds: Int64 { nanoseconds / 1_000_000 }
  /// Since 1970, rounded towards it.
  public var seconds: Int64 { nanoseconds / 1_000_000_000 }

  public static func < (a: Timestamp, b: Timestamp) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Later by `duration`; earlier if that is negative. Never beyond the years 1677 to 2262: "for ever" is a duration, too.
  public func advanced(by duration: Duration) -> Timestamp {
    Timestamp(nanoseconds: Int64(clamping: Int128(nanoseconds) + duration.attoseconds / 1_000_000_000))
  }

  /// Time from `earlier` to this moment.
  public func since(_ earlier: Timestamp) -> Duration {
    Duration.nanoseconds(nanoseconds) - Duration.nanoseconds(earlier.nanoseconds)
  }

  /// RFC 3339 in UTC with nine decimals: `2026-11-24T08:36:00.000000000Z`.
  public var description: String { String(decoding: rfc3339, as: UTF8.self) }

  /// ``description`` as 30 bytes of ASCII.
  public var rfc3339: [UInt8] {
    let text = rfc3339Text
    return text.indices.map { text[$0] }
  }

  /// ``rfc3339`` without an allocation.
  package var rfc3339Text: InlineArray<30, UInt8> {
    var text = InlineArray<30, UInt8>(repeating: 0)
    let rest = nanoseconds % 1_000_000_000
    let second = seconds - (rest < 0 ? 1 : 0)
    let days = Self.floorDivide(second, 86_400)
    let (year, month, day) = Self.civil(daysSince1970: days)
    let inDay = UInt32(truncatingIfNeeded: second - days * 86_400)
    Self.put(UInt32(truncatingIfNeeded: year), width: 4, then: "-", at: 4, &text)
    Self.put(UInt32(truncatingIfNeeded: month), width: 2, then: "-", at: 7, &text)
    Self.put(UInt32(truncatingIfNeeded: day), width: 2, then: "T", at: 10, &text)
    Self.put(inDay / 3600, width: 2, then: ":", at: 13, &text)
    Self.put(inDay / 60 % 60, width: 2, then: ":", at: 16, &text)
    Self.put(inDay % 60, width: 2, then: ".", at: 19, &text)
    let fraction = UInt32(truncatingIfNeeded: rest < 0 ? rest + 1_000_000_000 : rest)
    Self.put(fraction, width: 9, then: "Z", at: 29, &text)
    return text
  }

  private static func put(
    _ value: UInt32, width: Int, then separator: Unicode.Scalar, at end: Int, _ text: inout InlineArray<30, UInt8>
  ) {
    var rest = value
    for i in 1...width {
      text[end - i] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
    text[end] = UInt8(truncatingIfNeeded: separator.value)
  }

  /// Reads RFC 3339 in UTC (`Z`), with no or up to nine decimals, or a date alone. Nil when it is neither.
  public init?(rfc3339 text: String) {
    let bytes = Array(text.utf8)
    func number(_ range: Range<Int>) -> Int64? {
      guard range.upperBound <= bytes.count else { return nil }
      return bytes[range].reduce(Int64?(0)) { sum, byte in
        (0x30...0x39).contains(byte) ? sum.map { $0 * 10 + Int64(byte - 0x30) } : nil
      }
    }
    func has(_ character: Character, _ index: Int) -> Bool {
      index < bytes.count && bytes[index] == character.asciiValue
    }
    guard let year = number(0..<4), has("-", 4), let month = number(5..<7), has("-", 7), let day = number(8..<10),
      (1...12).contains(month), (1...31).contains(day)
    else { return nil }
    var second = Self.days(year, month, day) * 86_400
    var fraction: Int64 = 0
    if bytes.count > 10 {
      guard has("T", 10), has(":", 13), has(":", 16), bytes.last == 0x5A,
        let h = number(11..<13), let m = number(14..<16), let s = number(17..<19), h < 24, m < 60, s < 61
      else { return nil }
      second += h * 3600 + m * 60 + s
      let decimals = bytes.count - 21
      if bytes.count != 20 {
        guard has(".", 19), (1...9).contains(decimals), let value = number(20..<20 + decimals) else { return nil }
        fraction = (decimals..<9).reduce(value) { sum, _ in sum * 10 }
      }
    }
    guard (1970..<2262).contains(year) else { return nil }
    self.init(nanoseconds: second * 1_000_000_000 + fraction)
  }

  private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : (a - b + 1) / b }

  // Proleptic Gregorian calendar, after "chrono-Compatible Low-Level Date Algorithms" (Hinnant).
  private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let y = month <= 2 ? year - 1 : year
    let era = floorDivide(y, 400)
    let inEra = y - era * 400
    let inYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + inEra * 365 + inEra / 4 - inEra / 100 + inYear - 719_468
  }

  private static func civil(daysSince1970: Int64) -> (Int64, Int64, Int64) {
    let z = daysSince1970 + 719_468
    let era = floorDivide(z, 146_097)
    let inEra = z - era * 146_097
    let yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365
    let inYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let m = (5 * inYear + 2) / 153
    let month = m + (m < 10 ? 3 : -9)
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, inYear - (153 * m + 2) / 5 + 1)
  }
}

extension Timestamp: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let value = Timestamp(rfc3339: try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "not an RFC 3339 time in UTC")
    }
    self = value
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// CLOCK_BOOTTIME: goes on while the machine sleeps.
package func bootNanoseconds() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_BOOTTIME, &time)  // `time` outlives the call
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// CLOCK_MONOTONIC.
package func monotonicNanoseconds() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)  // `time` outlives the call
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

extension Duration {
  /// As a whole number; none below zero.
  package var wholeNanoseconds: UInt64 {
    // Most are below 18 s: one division, where `components` has several of 128 bits.
    if let few = UInt64(exactly: attoseconds) { return few / 1_000_000_000 }
    return attoseconds < 0 ? 0 : UInt64(clamping: attoseconds / 1_000_000_000)
  }
}
