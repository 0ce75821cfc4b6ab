export type Json =
  | string
  | number
  | boolean
  | null
  | { [key: string]: Json | undefined }
  | Json[]

export type Database = {
  // Allows to automatically instantiate createClient with right options
  // instead of createClient<Database, { PostgrestVersion: 'XX' }>(URL, KEY)
  __InternalSupabase: {
    PostgrestVersion: "13"
  }
  public: {
    Tables: {
      author: {
        Row: {
          born: string | null
          id: number
          name: string
          books_of: {
            author_id: number
            id: string
            isbn: string | null
            "list price": Database["public"]["CompositeTypes"]["price"] | null
            marks: ("x" | "y z")[] | null
            pages: number
            tag: Database["public"]["Enums"]["genre"] | null
            title: string
            title_length: number | null
          } | null
          first_book: {
            author_id: number
            id: string
            isbn: string | null
            "list price": Database["public"]["CompositeTypes"]["price"] | null
            marks: ("x" | "y z")[] | null
            pages: number
            tag: Database["public"]["Enums"]["genre"] | null
            title: string
            title_length: number | null
          } | null
        }
        Insert: {
          born?: string | null
          id?: never
          name: string
        }
        Update: {
          born?: string | null
          id?: never
          name?: string
        }
        Relationships: []
      }
      book: {
        Row: {
          author_id: number
          id: string
          isbn: string | null
          "list price": Database["public"]["CompositeTypes"]["price"] | null
          marks: ("x" | "y z")[] | null
          pages: number
          tag: Database["public"]["Enums"]["genre"] | null
          title: string
          title_length: number | null
          full_title: string | null
        }
        Insert: {
          author_id: number
          id?: string
          isbn?: string | null
          "list price"?: Database["public"]["CompositeTypes"]["price"] | null
          marks?: ("x" | "y z")[] | null
          pages?: number
          tag?: Database["public"]["Enums"]["genre"] | null
          title: string
          title_length?: number | null
        }
        Update: {
          author_id?: number
          id?: string
          isbn?: string | null
          "list price"?: Database["public"]["CompositeTypes"]["price"] | null
          marks?: ("x" | "y z")[] | null
          pages?: number
          tag?: Database["public"]["Enums"]["genre"] | null
          title?: string
          title_length?: number | null
        }
        Relationships: [
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["author_id"]
            isOneToOne: false
            referencedRelation: "author"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["author_id"]
            isOneToOne: false
            referencedRelation: "novelist"
            referencedColumns: ["author"]
          },
        ]
      }
      copy: {
        Row: {
          id: number
          shelf_place: number | null
          shelf_room: number | null
        }
        Insert: {
          id: number
          shelf_place?: number | null
          shelf_room?: number | null
        }
        Update: {
          id?: number
          shelf_place?: number | null
          shelf_room?: number | null
        }
        Relationships: [
          {
            foreignKeyName: "copy at shelf"
            columns: ["shelf_place", "shelf_room"]
            isOneToOne: false
            referencedRelation: "shelf"
            referencedColumns: ["place", "room"]
          },
        ]
      }
      cover: {
        Row: {
          book_id: string
          design: Json | null
        }
        Insert: {
          book_id: string
          design?: Json | null
        }
        Update: {
          book_id?: string
          design?: Json | null
        }
        Relationships: [
          {
            foreignKeyName: "cover_book_id_fkey"
            columns: ["book_id"]
            isOneToOne: true
            referencedRelation: "book"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "cover_book_id_fkey"
            columns: ["book_id"]
            isOneToOne: true
            referencedRelation: "hostile"
            referencedColumns: [":resno"]
          },
          {
            foreignKeyName: "cover_book_id_fkey"
            columns: ["book_id"]
            isOneToOne: true
            referencedRelation: "novel"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "cover_book_id_fkey"
            columns: ["book_id"]
            isOneToOne: true
            referencedRelation: "novelist"
            referencedColumns: ["novel"]
          },
        ]
      }
      empty: {
        Row: {}
        Insert: {}
        Update: {}
        Relationships: []
      }
      sale: {
        Row: {
          amount: number | null
          day: string
        }
        Insert: {
          amount?: number | null
          day: string
        }
        Update: {
          amount?: number | null
          day?: string
        }
        Relationships: []
      }
      sale_2026: {
        Row: {
          amount: number | null
          day: string
        }
        Insert: {
          amount?: number | null
          day: string
        }
        Update: {
          amount?: number | null
          day?: string
        }
        Relationships: []
      }
      shelf: {
        Row: {
          note: string | null
          place: number
          room: number
        }
        Insert: {
          note?: string | null
          place: number
          room: number
        }
        Update: {
          note?: string | null
          place?: number
          room?: number
        }
        Relationships: []
      }
    }
    Views: {
      author_count: {
        Row: {
          n: number | null
        }
        Relationships: []
      }
      hostile: {
        Row: {
          ":resno": string | null
          "a b {(\\": number | null
        }
        Insert: {
          ":resno"?: string | null
          "a b {(\\"?: number | null
        }
        Update: {
          ":resno"?: string | null
          "a b {(\\"?: number | null
        }
        Relationships: [
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["a b {(\\"]
            isOneToOne: false
            referencedRelation: "author"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["a b {(\\"]
            isOneToOne: false
            referencedRelation: "novelist"
            referencedColumns: ["author"]
          },
        ]
      }
      novel: {
        Row: {
          id: string | null
          "same writer": number | null
          writer: number | null
        }
        Insert: {
          id?: string | null
          "same writer"?: number | null
          writer?: number | null
        }
        Update: {
          id?: string | null
          "same writer"?: number | null
          writer?: number | null
        }
        Relationships: [
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["writer"]
            isOneToOne: false
            referencedRelation: "author"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["same writer"]
            isOneToOne: false
            referencedRelation: "author"
            referencedColumns: ["id"]
          },
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["writer"]
            isOneToOne: false
            referencedRelation: "novelist"
            referencedColumns: ["author"]
          },
          {
            foreignKeyName: "book_author_id_fkey"
            columns: ["same writer"]
            isOneToOne: false
            referencedRelation: "novelist"
            referencedColumns: ["author"]
          },
        ]
      }
      novelist: {
        Row: {
          author: number | null
          novel: string | null
        }
        Relationships: []
      }
    }
    Functions: {
      books_of: {
        Args: { "": Database["public"]["Tables"]["author"]["Row"] }
        Returns: {
          author_id: number
          id: string
          isbn: string | null
          "list price": Database["public"]["CompositeTypes"]["price"] | null
          marks: ("x" | "y z")[] | null
          pages: number
          tag: Database["public"]["Enums"]["genre"] | null
          title: string
          title_length: number | null
        }[]
        SetofOptions: {
          from: "author"
          to: "book"
          isOneToOne: false
          isSetofReturn: true
        }
      }
      first_book: {
        Args: { "": Database["public"]["Tables"]["author"]["Row"] }
        Returns: {
          author_id: number
          id: string
          isbn: string | null
          "list price": Database["public"]["CompositeTypes"]["price"] | null
          marks: ("x" | "y z")[] | null
          pages: number
          tag: Database["public"]["Enums"]["genre"] | null
          title: string
          title_length: number | null
        }
        SetofOptions: {
          from: "author"
          to: "book"
          isOneToOne: true
          isSetofReturn: true
        }
      }
      full_title: {
        Args: { "": Database["public"]["Tables"]["book"]["Row"] }
        Returns: {
          error: true
        } & "the function public.full_title with parameter or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache"
      }
      pick:
        | {
            Args: { a: number }
            Returns: {
              error: true
            } & "Could not choose the best candidate function between: public.pick(a => int4), public.pick(a => text). Try renaming the parameters or the function itself in the database so function overloading can be resolved"
          }
        | {
            Args: { a: string }
            Returns: {
              error: true
            } & "Could not choose the best candidate function between: public.pick(a => int4), public.pick(a => text). Try renaming the parameters or the function itself in the database so function overloading can be resolved"
          }
      rate: { Args: { book: string }; Returns: "x" | "y z" }
      search: {
        Args: {
          most?: number
          tags?: Database["public"]["Enums"]["genre"][]
          term: string
        }
        Returns: {
          found: Database["public"]["Enums"]["genre"]
          title: string
        }[]
      }
      take: { Args: { "": Json }; Returns: undefined }
    }
    Enums: {
      genre: "novel" | "crime" | 'it\'s "odd"'
    }
    CompositeTypes: {
      price: {
        amount: number | null
        currency: string | null
        kinds: Database["public"]["Enums"]["genre"][] | null
      }
    }
  }
}

type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] &
        DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] &
        DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
        Row: infer R
      }
      ? R
      : never
    : never

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Insert: infer I
      }
      ? I
      : never
    : never

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never,
> = DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Update: infer U
      }
      ? U
      : never
    : never

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never = never,
> = DefaultSchemaEnumNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
    ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
    : never

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never = never,
> = PublicCompositeTypeNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
    ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
    : never

export const Constants = {
  public: {
    Enums: {
      genre: ["novel", "crime", 'it\'s "odd"'],
    },
  },
} as const
