import Foundation
import Supabase

public enum PublicSchema {
  public enum Genre: String, Codable, Hashable, Sendable {
    case novel = "novel"
    case crime = "crime"
    case itSOdd = "it's \"odd\""
  }
  public struct AuthorSelect: Codable, Hashable, Sendable, Identifiable {
    public let born: String?
    public let id: Int64
    public let name: String
    public enum CodingKeys: String, CodingKey {
      case born = "born"
      case id = "id"
      case name = "name"
    }
  }
  public struct AuthorInsert: Codable, Hashable, Sendable, Identifiable {
    public let born: String?
    public let id: Int64?
    public let name: String
    public enum CodingKeys: String, CodingKey {
      case born = "born"
      case id = "id"
      case name = "name"
    }
  }
  public struct AuthorUpdate: Codable, Hashable, Sendable, Identifiable {
    public let born: String?
    public let id: Int64?
    public let name: String?
    public enum CodingKeys: String, CodingKey {
      case born = "born"
      case id = "id"
      case name = "name"
    }
  }
  public struct BookSelect: Codable, Hashable, Sendable {
    public let authorId: Int64
    public let id: UUID
    public let isbn: String?
    public let listPrice: Price?
    public let marks: [String]?
    public let pages: Int32
    public let tag: Genre?
    public let title: String
    public let titleLength: Int32?
    public enum CodingKeys: String, CodingKey {
      case authorId = "author_id"
      case id = "id"
      case isbn = "isbn"
      case listPrice = "list price"
      case marks = "marks"
      case pages = "pages"
      case tag = "tag"
      case title = "title"
      case titleLength = "title_length"
    }
  }
  public struct BookInsert: Codable, Hashable, Sendable {
    public let authorId: Int64
    public let id: UUID?
    public let isbn: String?
    public let listPrice: Price?
    public let marks: [String]?
    public let pages: Int32?
    public let tag: Genre?
    public let title: String
    public let titleLength: Int32?
    public enum CodingKeys: String, CodingKey {
      case authorId = "author_id"
      case id = "id"
      case isbn = "isbn"
      case listPrice = "list price"
      case marks = "marks"
      case pages = "pages"
      case tag = "tag"
      case title = "title"
      case titleLength = "title_length"
    }
  }
  public struct BookUpdate: Codable, Hashable, Sendable {
    public let authorId: Int64?
    public let id: UUID?
    public let isbn: String?
    public let listPrice: Price?
    public let marks: [String]?
    public let pages: Int32?
    public let tag: Genre?
    public let title: String?
    public let titleLength: Int32?
    public enum CodingKeys: String, CodingKey {
      case authorId = "author_id"
      case id = "id"
      case isbn = "isbn"
      case listPrice = "list price"
      case marks = "marks"
      case pages = "pages"
      case tag = "tag"
      case title = "title"
      case titleLength = "title_length"
    }
  }
  public struct CopySelect: Codable, Hashable, Sendable {
    public let id: Int32
    public let shelfPlace: Int32?
    public let shelfRoom: Int32?
    public enum CodingKeys: String, CodingKey {
      case id = "id"
      case shelfPlace = "shelf_place"
      case shelfRoom = "shelf_room"
    }
  }
  public struct CopyInsert: Codable, Hashable, Sendable {
    public let id: Int32
    public let shelfPlace: Int32?
    public let shelfRoom: Int32?
    public enum CodingKeys: String, CodingKey {
      case id = "id"
      case shelfPlace = "shelf_place"
      case shelfRoom = "shelf_room"
    }
  }
  public struct CopyUpdate: Codable, Hashable, Sendable {
    public let id: Int32?
    public let shelfPlace: Int32?
    public let shelfRoom: Int32?
    public enum CodingKeys: String, CodingKey {
      case id = "id"
      case shelfPlace = "shelf_place"
      case shelfRoom = "shelf_room"
    }
  }
  public struct CoverSelect: Codable, Hashable, Sendable {
    public let bookId: UUID
    public let design: AnyJSON?
    public enum CodingKeys: String, CodingKey {
      case bookId = "book_id"
      case design = "design"
    }
  }
  public struct CoverInsert: Codable, Hashable, Sendable {
    public let bookId: UUID
    public let design: AnyJSON?
    public enum CodingKeys: String, CodingKey {
      case bookId = "book_id"
      case design = "design"
    }
  }
  public struct CoverUpdate: Codable, Hashable, Sendable {
    public let bookId: UUID?
    public let design: AnyJSON?
    public enum CodingKeys: String, CodingKey {
      case bookId = "book_id"
      case design = "design"
    }
  }
  public struct EmptySelect: Codable, Hashable, Sendable {
  }
  public struct EmptyInsert: Codable, Hashable, Sendable {
  }
  public struct EmptyUpdate: Codable, Hashable, Sendable {
  }
  public struct SaleSelect: Codable, Hashable, Sendable {
    public let amount: Int32?
    public let day: String
    public enum CodingKeys: String, CodingKey {
      case amount = "amount"
      case day = "day"
    }
  }
  public struct SaleInsert: Codable, Hashable, Sendable {
    public let amount: Int32?
    public let day: String
    public enum CodingKeys: String, CodingKey {
      case amount = "amount"
      case day = "day"
    }
  }
  public struct SaleUpdate: Codable, Hashable, Sendable {
    public let amount: Int32?
    public let day: String?
    public enum CodingKeys: String, CodingKey {
      case amount = "amount"
      case day = "day"
    }
  }
  public struct Sale2026Select: Codable, Hashable, Sendable {
    public let amount: Int32?
    public let day: String
    public enum CodingKeys: String, CodingKey {
      case amount = "amount"
      case day = "day"
    }
  }
  public struct Sale2026Insert: Codable, Hashable, Sendable {
    public let amount: Int32?
    public let day: String
    public enum CodingKeys: String, CodingKey {
      case amount = "amount"
      case day = "day"
    }
  }
  public struct Sale2026Update: Codable, Hashable, Sendable {
    public let amount: Int32?
    public let day: String?
    public enum CodingKeys: String, CodingKey {
      case amount = "amount"
      case day = "day"
    }
  }
  public struct ShelfSelect: Codable, Hashable, Sendable {
    public let note: String?
    public let place: Int32
    public let room: Int32
    public enum CodingKeys: String, CodingKey {
      case note = "note"
      case place = "place"
      case room = "room"
    }
  }
  public struct ShelfInsert: Codable, Hashable, Sendable {
    public let note: String?
    public let place: Int32
    public let room: Int32
    public enum CodingKeys: String, CodingKey {
      case note = "note"
      case place = "place"
      case room = "room"
    }
  }
  public struct ShelfUpdate: Codable, Hashable, Sendable {
    public let note: String?
    public let place: Int32?
    public let room: Int32?
    public enum CodingKeys: String, CodingKey {
      case note = "note"
      case place = "place"
      case room = "room"
    }
  }
  public struct AuthorCountSelect: Codable, Hashable, Sendable {
    public let n: Int64?
    public enum CodingKeys: String, CodingKey {
      case n = "n"
    }
  }
  public struct HostileSelect: Codable, Hashable, Sendable {
    public let Resno: UUID?
    public let aB: Int64?
    public enum CodingKeys: String, CodingKey {
      case Resno = ":resno"
      case aB = "a b {(\\"
    }
  }
  public struct NovelSelect: Codable, Hashable, Sendable {
    public let id: UUID?
    public let sameWriter: Int64?
    public let writer: Int64?
    public enum CodingKeys: String, CodingKey {
      case id = "id"
      case sameWriter = "same writer"
      case writer = "writer"
    }
  }
  public struct NovelistSelect: Codable, Hashable, Sendable {
    public let author: Int64?
    public let novel: UUID?
    public enum CodingKeys: String, CodingKey {
      case author = "author"
      case novel = "novel"
    }
  }
  public struct Price: Codable, Hashable, Sendable {
    public let Amount: Decimal
    public let Currency: String
    public let Kinds: AnyJSON
    public enum CodingKeys: String, CodingKey {
      case Amount = "amount"
      case Currency = "currency"
      case Kinds = "kinds"
    }
  }
}
