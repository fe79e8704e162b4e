import KMSCore
import Testing

@Suite struct KeyVersionIDTests {
  @Test func madeIdsAreUUIDv7AndCarryTheirTime() throws {
    let now = Timestamp(milliseconds: 1_732_438_560_123)
    let id = KeyVersionID.make(now: now)
    #expect(id.isUUIDv7)
    #expect(id.created == now)
    #expect(try KeyVersionID(parsing: id.description) == id)
  }

  @Test func aNodeWithASlowClockStillMakesTheNewestVersion() {
    let ahead = KeyVersionID.make(now: Timestamp(milliseconds: 2_000_000_000_000))
    let next = KeyVersionID.make(after: ahead, now: Timestamp(milliseconds: 1_900_000_000_000))
    #expect(ahead < next)
  }

  @Test func adoptedIdsSortBeforeOurs() throws {
    let adopted = try KeyVersionID([0xFF, 0xFF])
    #expect(adopted < KeyVersionID.make(now: Timestamp(milliseconds: 1)))
    #expect(!adopted.isUUIDv7)
    #expect(adopted.description == "ffff")
  }

  @Test(arguments: ["", "0", "xyz", "0g", String(repeating: "00", count: 65)])
  func otherTextIsRefused(text: String) {
    #expect(throws: KMSError(.invalidInput, "")) { try KeyVersionID(parsing: text) }
  }

  @Test func timesPrintAndReadBack() throws {
    for text in ["2026-11-24T08:36:00.000000001Z", "1970-01-01T00:00:00.000000000Z", "2024-02-29T23:59:59.999999999Z"] {
      let time = try #require(Timestamp(rfc3339: text))
      #expect(time.description == text)
    }
    #expect(Timestamp(rfc3339: "2026-11-24") == Timestamp(rfc3339: "2026-11-24T00:00:00Z"))
    #expect(Timestamp(rfc3339: "24.11.2026") == nil)
  }

  @Test func timesEndWithTheirRangeAndNotTheProcess() throws {
    let (now, last) = (Timestamp.now(), Timestamp(nanoseconds: .max))
    #expect(now.advanced(by: .seconds(99_999 * 86_400)) == last && last.advanced(by: .nanoseconds(1)) == last)
    #expect(now.advanced(by: .seconds(-99_999 * 86_400)) < now.advanced(by: .seconds(-86_400)))
    #expect(Timestamp(nanoseconds: .min).advanced(by: .seconds(-1)) == Timestamp(nanoseconds: .min))
    #expect(Timestamp(milliseconds: .max) == last && Timestamp(seconds: .max) == last)
    #expect(last.since(Timestamp(nanoseconds: .min)) > .seconds(500 * 365 * 86_400))
    #expect(last.description == "2262-04-11T23:47:16.854775807Z")
    #expect(Timestamp(nanoseconds: .min).description == "1677-09-21T00:12:43.145224192Z")
    #expect(Timestamp(nanoseconds: -1).description == "1969-12-31T23:59:59.999999999Z")
    let foreign = try KeyVersionID(parsing: "ffffffff-ffff-7fff-bfff-ffffffffffff")
    #expect(foreign.created == last)
    #expect(KeyVersionID.make(after: foreign).isUUIDv7)
    let later = try KeyVersionID(parsing: "a0000000-0000-7000-8000-000000000001")
    #expect(later < .make(after: later))
  }

  @Test func theTransitionTableHasNoWayBackFromCompromisedOrDestroyed() {
    #expect(KeyState.compromised.successors == [.destroyed])
    #expect(KeyState.destroyed.successors.isEmpty)
    #expect(!KeyState.active.mayBecome(.destroyed))
    for state in KeyState.allCases { #expect(state.mayBecome(state)) }
  }
}
