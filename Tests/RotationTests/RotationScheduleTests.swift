import KMSCore
import Testing

@testable import DataAtRest

/// What the schedule decides, without clock, provider or log.
struct RotationScheduleTests {
  private let now = Timestamp(rfc3339: "2026-11-24T12:00:00Z")!
  private let schedule = RotationSchedule(interval: .seconds(86_400))
  private let k = try! KeyName("k")

  private func version(
    _ key: String = "k", age: Int, _ state: KeyState = .active, purpose: KeyPurpose = .wrap, in provider: String = "hsm"
  ) throws -> KeyVersion {
    KeyVersion(
      id: .make(now: now.advanced(by: .seconds(-age))), key: try KeyName(key), purpose: purpose, state: state,
      enforcement: .token, provider: provider)
  }

  private func plan(_ versions: [KeyVersion], failures: RotationFailures? = nil) throws -> RotationPlan {
    let plans = schedule.plans(versions, provider: "hsm", failures: failures.map { [k: $0] } ?? [:], now: now)
    return try #require(plans.first { $0.key == k })
  }

  @Test("due to the second", arguments: [(86_399, RotationStanding.notDue), (86_400, .due), (900_000, .due)])
  func due(age: Int, standing: RotationStanding) throws {
    let plan = try plan([try version(age: age)])
    #expect(plan.standing == standing)
    #expect(plan.next == now.advanced(by: .seconds(86_400 - age)))
    #expect(plan.isActionable == (standing == .due))
  }

  @Test("old versions count for nothing; an adopted one, whose age nobody knows, is due")
  func whichVersionCounts() throws {
    #expect(
      try plan([try version(age: 900_000, .deactivated), try version(age: 60), try version(age: 10, .suspended)])
        .standing == .notDue)
    let adopted = KeyVersion(
      id: try KeyVersionID([1]), key: k, purpose: .wrap, state: .active, enforcement: .token, provider: "hsm")
    #expect(try plan([adopted]).standing == .due)
    #expect(try plan([adopted]).next == now)
  }

  @Test("a failure that a wrong clock dated to the future holds nothing up")
  func failedInTheFuture() throws {
    let old = try version(age: 900_000)
    for (seconds, standing) in [(-1, RotationStanding.waiting), (1, .waiting), (3601, .due), (100_000_000, .due)] {
      let failures = RotationFailures(count: 1, last: now.advanced(by: .seconds(seconds)))
      #expect(try plan([old], failures: failures).standing == standing)
    }
  }

  @Test("a version that a wrong clock dated ahead is due by when it was made, as far as that is known")
  func madeInTheFuture() throws {
    let ahead = try version(age: -100_000_000)
    func standing(_ version: KeyVersion, rotated: Int?) throws -> RotationStanding {
      let times = rotated.map { [k: now.advanced(by: .seconds(-$0))] } ?? [:]
      let plans = schedule.plans([version], provider: "hsm", failures: [:], rotated: times, now: now)
      return try #require(plans.first).standing
    }
    #expect(try standing(ahead, rotated: nil) == .due)
    #expect(try standing(ahead, rotated: 86_400) == .due)
    #expect(try standing(ahead, rotated: 86_399) == .notDue)
    // A little is what clocks differ by.
    #expect(try standing(try version(age: -3600), rotated: nil) == .notDue)
  }

  @Test("a key that was retired is left alone")
  func retired() throws {
    let plan = try plan([try version(age: 900_000, .deactivated), try version(age: 600_000, .suspended)])
    #expect(plan.standing == .inactive)
    #expect(plan.current == nil && plan.next == nil && !plan.isActionable)
  }

  @Test("a rotation that was cut off is finished, however young or old the versions are", arguments: [60, 900_000])
  func interrupted(age: Int) throws {
    let newest = try version(age: age)
    let plan = try plan([try version(age: age + 86_400), newest])
    #expect(plan.standing == .interrupted)
    #expect(plan.current == newest)
    #expect(plan.isActionable)
  }

  @Test("what another provider holds: an older active version is left over, a newer one is none of this schedule's")
  func otherProvider() throws {
    let (old, mine, newer) = (
      try version(age: 99, in: "laptop"), try version(age: 60), try version(age: 9, in: "laptop")
    )
    #expect(try plan([old, mine]).standing == .interrupted)
    #expect(try plan([mine, newer]).standing == .notDue)
    #expect(schedule.plans([old], provider: "hsm", failures: [:], now: now).isEmpty)
  }

  @Test("after a failure it waits: 1 min, doubling to 1 h, and up to a tenth more")
  func waits() throws {
    let minutes = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    for (index, minute) in minutes.enumerated() {
      let failures = RotationFailures(count: index + 1, last: now)
      let pause = RotationSchedule.pause(k, failures)
      #expect(pause >= .seconds(60 * minute) && pause < .seconds(66 * minute))
      for versions in [[try version(age: 90_000)], [try version(age: 90_000), try version(age: 9)]] {
        let plan = try plan(versions, failures: failures)
        #expect(plan.standing == .waiting)
        #expect(plan.next == now.advanced(by: pause))
        let later = schedule.plans(versions, provider: "hsm", failures: [k: failures], now: now.advanced(by: pause))
        #expect(later.first?.isActionable == true)
      }
    }
    let huge = RotationFailures(count: .max, last: now)
    #expect(RotationSchedule.pause(k, huge) < .seconds(3960))
  }

  @Test("a failure of the past does not make a young key wait")
  func failureOfAYoungKey() throws {
    #expect(try plan([try version(age: 9)], failures: RotationFailures(count: 3, last: now)).standing == .notDue)
  }

  @Test("nodes that failed together come back apart, and everyone who asks is told the same")
  func jitter() throws {
    let pauses = try (0..<100).map { i in
      RotationSchedule.pause(try KeyName("k\(i)"), RotationFailures(count: 1, last: now))
    }
    #expect(Set(pauses).count == 100)
    let spread = try #require(pauses.max()) - (try #require(pauses.min()))
    #expect(spread > .seconds(4) && spread < .seconds(6))
    // The same in every process: `--dry-run` and the timer must agree.
    let pause = RotationSchedule.pause(k, RotationFailures(count: 1, last: now))
    #expect(pause > .seconds(64.250) && pause < .seconds(64.251))
  }

  @Test("failures count from the last good rotation on")
  func counting() throws {
    var failures: [KeyName: RotationFailures] = [:]
    for (second, success) in [(1, false), (2, true), (3, false), (4, false)] {
      failures.note(k, success: success, at: Timestamp(seconds: Int64(second)))
    }
    #expect(failures == [k: RotationFailures(count: 2, last: Timestamp(seconds: 4))])
  }

  @Test("every key of the provider has its own plan, by name")
  func manyKeys() throws {
    let plans = schedule.plans(
      [try version("c", age: 90_000), try version("a", age: 9), try version("b", age: 90_000, purpose: .encrypt)],
      provider: "hsm", failures: [try KeyName("b"): RotationFailures(count: 1, last: now)], now: now)
    #expect(plans.map(\.key.description) == ["a", "b", "c"])
    #expect(plans.map(\.standing) == [.notDue, .waiting, .due])
  }
}
