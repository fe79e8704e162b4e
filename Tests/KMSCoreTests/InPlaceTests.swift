import KMSCore
import Testing

/// Whose thread may be held by a call. What a hold does is shown by `HangingTests` and `StandingDiskTests`.
struct InPlaceTests {
  private actor OfThePool {
    func mayBeHeld() -> Bool { InPlace.mayHoldThread(of: self) }
  }

  private actor WithAnExecutor {
    private nonisolated let executor = Executor()
    nonisolated var unownedExecutor: UnownedSerialExecutor {
      unsafe executor.asUnownedSerialExecutor()  // it lives as long as the actor
    }
    nonisolated func mayBeHeld() -> Bool { InPlace.mayHoldThread(of: self) }
  }

  private final class Executor: SerialExecutor {
    func enqueue(_ job: consuming ExecutorJob) { Issue.record("nothing is run here") }
  }

  private func ofCaller() async -> Bool { InPlace.mayHoldThread(of: #isolation) }

  @Test func threadsOfThePoolMay() async {
    #expect(InPlace.mayHoldThread(of: nil))
    #expect(await OfThePool().mayBeHeld())
    #expect(await ofCaller())
  }

  @Test @MainActor func othersMayNot() async {
    #expect(!InPlace.mayHoldThread(of: MainActor.shared))
    #expect(!WithAnExecutor().mayBeHeld())
    #expect(await !ofCaller())
  }
}
