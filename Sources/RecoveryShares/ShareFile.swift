internal import DurableFiles
package import KMSCore
package import SystemPackage

/// A share in a file, as `gfsplit` writes and `gfcombine` reads it: the bytes alone, the number in the name's suffix.
package enum ShareFile {
  private static let largest = 4096

  /// `folder/name.007`
  package static func path(_ number: Int, of name: KeyName, in folder: FilePath) -> FilePath {
    let digits = String(number)
    return folder.appending("\(name).\(String(repeating: "0", count: 3 - digits.count))\(digits)")
  }

  /// - Throws: ``KMSError/Code/invalidInput`` unless the name ends with `.001` to `.255`.
  package static func read(_ path: FilePath) throws -> Share {
    let suffix = path.lastComponent?.extension ?? ""
    guard suffix.utf8.count == 3, suffix.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt8(suffix),
      number > 0
    else {
      throw KMSError(
        .invalidInput, "\(path) is not named like a share", advice: "Its name must end with its number, .001 to .255.")
    }
    return Share(number: number, bytes: try readSecretFile(path, limit: largest))
  }

  /// Readable by its owner only; whole, on the disk and under its name when this returns.
  package static func write(_ share: Share, to path: FilePath) throws {
    let file = try AtomicFile(path, replacing: false)
    _ = try FileFailure.mapping("write", path) {
      try share.bytes.withBytes { bytes throws(any Error) in
        try unsafe bytes.withUnsafeBytes { unsafe try file.descriptor.writeAll($0) }  // for the call only
      }
    }
    try file.commit()
  }
}
