public import KMSCore

extension DataAtRestManager {
  /// Encrypts rows as they are asked for, some hundred at a time: in constant memory, however many they are.
  ///
  /// - Parameters:
  ///   - partition, key, principal: as for ``encrypt(_:partition:key:principal:)``.
  /// - Returns: what encryption gives for each, in their order. The first that fails ends it by its error.
  public func encrypting<Rows: Sequence<Field>>(
    _ rows: Rows, partition: String? = nil, key: KeyName? = nil, principal: String? = nil
  ) -> FieldSequence<Rows> {
    FieldSequence(rows) { try await self.encrypt($0, partition: partition, key: key, principal: principal) }
  }

  /// Decrypts rows as they are asked for, some hundred at a time: in constant memory, however many they are.
  ///
  /// - Returns: the plaintext of each, in their order. The first that fails ends it by its error.
  public func decrypting<Rows: Sequence<Field>>(
    _ rows: Rows, principal: String? = nil, allowCompromised: Bool = false
  ) -> FieldSequence<Rows> {
    FieldSequence(rows) {
      try await self.decrypt($0, principal: principal, allowCompromised: allowCompromised)
    }
  }
}

/// What becomes of rows, one after the other.
public struct FieldSequence<Rows: Sequence<Field>>: AsyncSequence {
  /// Ciphertext or plaintext.
  public typealias Element = [UInt8]

  private let rows: Rows
  private let work: @Sendable ([Field]) async throws -> [[UInt8]]

  init(_ rows: Rows, _ work: @escaping @Sendable ([Field]) async throws -> [[UInt8]]) {
    self.rows = rows
    self.work = work
  }

  /// Begins with the first row.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(rows.makeIterator(), work) }

  /// Takes rows in batches.
  public struct AsyncIterator: AsyncIteratorProtocol {
    // A batch is logged at once, and ends at either.
    private static var mostRows: Int { 512 }
    private static var mostBytes: Int { 1 << 20 }

    private var rows: Rows.Iterator
    private let work: @Sendable ([Field]) async throws -> [[UInt8]]
    private var done: [[UInt8]] = []
    private var position = 0
    private var hasFailed = false

    init(_ rows: Rows.Iterator, _ work: @escaping @Sendable ([Field]) async throws -> [[UInt8]]) {
      self.rows = rows
      self.work = work
    }

    /// - Throws: what encryption or decryption throws; then nothing comes after it.
    public mutating func next() async throws -> [UInt8]? {
      if position == done.count {
        guard !hasFailed else { return nil }
        var (batch, bytes): ([Field], Int) = ([], 0)
        while batch.count < Self.mostRows, bytes < Self.mostBytes, let row = rows.next() {
          batch.append(row)
          bytes += row.bytes.count
        }
        do { (done, position) = (batch.isEmpty ? [] : try await work(batch), 0) } catch {
          hasFailed = true
          throw error
        }
        if done.isEmpty { return nil }
      }
      defer { position += 1 }
      return done[position]
    }
  }
}
