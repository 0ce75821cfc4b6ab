package database

type PublicAuthorSelect struct {
  Born *string `json:"born"`
  Id   int64   `json:"id"`
  Name string  `json:"name"`
}

type PublicAuthorInsert struct {
  Born *string `json:"born"`
  Id   *int64  `json:"id"`
  Name string  `json:"name"`
}

type PublicAuthorUpdate struct {
  Born *string `json:"born"`
  Id   *int64  `json:"id"`
  Name *string `json:"name"`
}

type PublicBookSelect struct {
  AuthorId    int64                  `json:"author_id"`
  Id          string                 `json:"id"`
  Isbn        *string                `json:"isbn"`
  ListPrice   map[string]interface{} `json:"list price"`
  Marks       []*string              `json:"marks"`
  Pages       int32                  `json:"pages"`
  Tag         *string                `json:"tag"`
  Title       string                 `json:"title"`
  TitleLength *int32                 `json:"title_length"`
}

type PublicBookInsert struct {
  AuthorId    int64                  `json:"author_id"`
  Id          *string                `json:"id"`
  Isbn        *string                `json:"isbn"`
  ListPrice   map[string]interface{} `json:"list price"`
  Marks       []*string              `json:"marks"`
  Pages       *int32                 `json:"pages"`
  Tag         *string                `json:"tag"`
  Title       string                 `json:"title"`
  TitleLength *int32                 `json:"title_length"`
}

type PublicBookUpdate struct {
  AuthorId    *int64                 `json:"author_id"`
  Id          *string                `json:"id"`
  Isbn        *string                `json:"isbn"`
  ListPrice   map[string]interface{} `json:"list price"`
  Marks       []*string              `json:"marks"`
  Pages       *int32                 `json:"pages"`
  Tag         *string                `json:"tag"`
  Title       *string                `json:"title"`
  TitleLength *int32                 `json:"title_length"`
}

type PublicCoverSelect struct {
  BookId string      `json:"book_id"`
  Design interface{} `json:"design"`
}

type PublicCoverInsert struct {
  BookId string      `json:"book_id"`
  Design interface{} `json:"design"`
}

type PublicCoverUpdate struct {
  BookId *string     `json:"book_id"`
  Design interface{} `json:"design"`
}

type PublicShelfSelect struct {
  Note  *string `json:"note"`
  Place int32   `json:"place"`
  Room  int32   `json:"room"`
}

type PublicShelfInsert struct {
  Note  *string `json:"note"`
  Place int32   `json:"place"`
  Room  int32   `json:"room"`
}

type PublicShelfUpdate struct {
  Note  *string `json:"note"`
  Place *int32  `json:"place"`
  Room  *int32  `json:"room"`
}

type PublicCopySelect struct {
  Id         int32  `json:"id"`
  ShelfPlace *int32 `json:"shelf_place"`
  ShelfRoom  *int32 `json:"shelf_room"`
}

type PublicCopyInsert struct {
  Id         int32  `json:"id"`
  ShelfPlace *int32 `json:"shelf_place"`
  ShelfRoom  *int32 `json:"shelf_room"`
}

type PublicCopyUpdate struct {
  Id         *int32 `json:"id"`
  ShelfPlace *int32 `json:"shelf_place"`
  ShelfRoom  *int32 `json:"shelf_room"`
}

type PublicSaleSelect struct {
  Amount *int32 `json:"amount"`
  Day    string `json:"day"`
}

type PublicSaleInsert struct {
  Amount *int32 `json:"amount"`
  Day    string `json:"day"`
}

type PublicSaleUpdate struct {
  Amount *int32  `json:"amount"`
  Day    *string `json:"day"`
}

type PublicSale2026Select struct {
  Amount *int32 `json:"amount"`
  Day    string `json:"day"`
}

type PublicSale2026Insert struct {
  Amount *int32 `json:"amount"`
  Day    string `json:"day"`
}

type PublicSale2026Update struct {
  Amount *int32  `json:"amount"`
  Day    *string `json:"day"`
}

type PublicEmptySelect struct {

}

type PublicEmptyInsert struct {

}

type PublicEmptyUpdate struct {

}

type PublicNovelSelect struct {
  Id         *string `json:"id"`
  SameWriter *int64  `json:"same writer"`
  Writer     *int64  `json:"writer"`
}

type PublicNovelistSelect struct {
  Author *int64  `json:"author"`
  Novel  *string `json:"novel"`
}

type PublicHostileSelect struct {
  Resno *string `json:":resno"`
  AB    *int64  `json:"a b {(\\"`
}

type PublicAuthorCountSelect struct {
  N *int64 `json:"n"`
}

type PublicPrice struct {
  Amount   float64     `json:"amount"`
  Currency string      `json:"currency"`
  Kinds    interface{} `json:"kinds"`
}
